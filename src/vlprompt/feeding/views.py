"""Training views: random resized crops and flips, each a pure function of seed, picture and view number.

Source of the distributions: torchvision's RandomResizedCrop and RandomHorizontalFlip with the settings of the
published configurations. The stream of random numbers is our own.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from vlprompt.errors import OptionError

if TYPE_CHECKING:
    from vlprompt.backbones.preprocessing import Preprocessing

SCALE = (0.08, 1.0)  # share of the picture's area
RATIO = (3 / 4, 4 / 3)  # width to height
ATTEMPTS = 10
CENTER = "center"


class View(NamedTuple):
    """A box in pixels of the original picture, and whether it is mirrored."""

    left: int
    top: int
    width: int
    height: int
    flip: bool


def view_generator(seed: int, identity: str, index: int) -> np.random.Generator:
    """The generator of one view. identity: what names the picture, such as the hash of its content."""
    digest = hashlib.blake2b(f"view|{seed}|{identity}|{index}".encode(), digest_size=16).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


def draw_view(
    width: int,
    height: int,
    generator: np.random.Generator,
    scale: tuple[float, float] = SCALE,
    ratio: tuple[float, float] = RATIO,
    flip: float = 0.5,
) -> View:
    """A random box whose area and shape are drawn first, then its place; flipped with probability `flip`.

    When ten boxes do not fit, the largest central box of an allowed shape is taken.
    """
    flipped = bool(generator.random() < flip)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(ATTEMPTS):
        area = width * height * generator.uniform(*scale)
        shape = math.exp(generator.uniform(low, high))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            top = int(generator.integers(0, height - h + 1))
            left = int(generator.integers(0, width - w + 1))
            return View(left, top, w, h, flipped)
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return View((width - w) // 2, (height - h) // 2, w, h, flipped)


def apply_view(
    picture: Image.Image, view: View, size: int, how: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """The box of an RGB picture, scaled to size x size pixels."""
    box = picture.crop((view.left, view.top, view.left + view.width, view.top + view.height))
    box = box.resize((size, size), how)
    return box.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view.flip else box


def take_view(
    picture: Image.Image, preprocessing: Preprocessing, view: int | str, *, seed: int, identity: str
) -> Image.Image:
    """One view of an RGB picture, size x size pixels, ready for `preprocessing.normalize`.

    view: a number from 0 on (of a cached view, or the epoch) or "center" for the test transform.
    """
    if view == CENTER:
        return preprocessing.crop(picture)
    if not isinstance(view, int) or view < 0:
        raise OptionError(f'view {view!r}: give a number from 0 on, or "{CENTER}"')
    drawn = draw_view(*picture.size, view_generator(seed, identity, view))
    from vlprompt.backbones.preprocessing import INTERPOLATIONS

    return apply_view(picture, drawn, preprocessing.size, INTERPOLATIONS[preprocessing.interpolation])


def view_key(view: int | str, seed: int) -> str:
    """The name of a view in cache keys; the test transform depends on no seed."""
    return CENTER if view == CENTER else f"crop-flip-1:{seed}:{view}"
