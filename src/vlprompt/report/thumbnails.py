"""Pictures inside a page: small copies as data URLs, and heat maps over them."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Images

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 144  # pixels; they are shown at half of it, for sharp screens
_HEAT = np.array(
    [[10, 10, 60], [70, 30, 140], [200, 60, 90], [250, 150, 40], [255, 240, 150]], float
)  # dark to bright


def thumbnail(picture: Image, side: int = SIDE) -> str:
    """A picture that fits into a square of `side` pixels as a data URL; smaller ones keep their size."""
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    return data_url(small)


def data_url(picture: Image) -> str:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def heat(picture: Image, weights: np.ndarray, side: int = SIDE) -> Image:
    """The picture, grey, with weights laid over it, brightest where they are largest.

    picture: a square crop; weights: [rows, columns], not negative.
    """
    grey = picture.convert("L").resize((side, side))
    low, high = float(weights.min()), float(weights.max())
    scaled = (weights - low) / (high - low) if high > low else np.zeros_like(weights)
    grid = Images.fromarray(np.round(255 * scaled).astype(np.uint8)).resize(
        (side, side), Images.Resampling.BICUBIC
    )
    place = np.asarray(grid, float) / 255 * (len(_HEAT) - 1)
    colour = np.stack([np.interp(place, np.arange(len(_HEAT)), _HEAT[:, c]) for c in range(3)], axis=-1)
    mixed = 0.45 * np.asarray(grey, float)[..., None] + 0.55 * colour
    return Images.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
