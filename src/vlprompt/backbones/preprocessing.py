"""Pictures to the numbers an image tower takes, exactly as CLIP does it, with Pillow alone.

Shorter side to n (bicubic, antialiased), centre crop n x n, divide by 255, subtract the mean,
divide by the standard deviation. Agrees bit for bit with the published torchvision transform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from vlprompt.errors import BackboneError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class Preprocessing:
    """size: pixels of the square that the tower takes. mean, std: per channel, of values in 0..1.

    resize: "shortest" scales the shorter side to `shorter` (default `size`) and crops the centre;
    "squash" scales both sides to `size`, whatever the shape of the picture.
    """

    size: int = 224
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    interpolation: str = "bicubic"
    resize: Literal["shortest", "squash"] = "shortest"
    shorter: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", _three(self.mean, "mean"))
        object.__setattr__(self, "std", _three(self.std, "standard deviation"))
        if self.interpolation not in INTERPOLATIONS:
            raise BackboneError(
                f'interpolation "{self.interpolation}" is not supported: use {", ".join(INTERPOLATIONS)}'
            )
        if self.resize not in ("shortest", "squash"):
            raise BackboneError(f'resize mode "{self.resize}" is not supported: use shortest or squash')
        if self.size < 1 or (self.shorter is not None and self.shorter < self.size):
            raise BackboneError(f"cannot crop {self.size} pixels from a shorter side of {self.shorter}")

    def __call__(self, image: Image.Image) -> np.ndarray:
        """A picture of any size and mode -> float32 [3, size, size]."""
        return self.normalize(np.asarray(self.crop(image)))

    def crop(self, image: Image.Image) -> Image.Image:
        """The picture as RGB, scaled and cropped to size x size, before any arithmetic."""
        if image.mode != "RGB":  # before resizing: Pillow does not interpolate palette pictures
            image = image.convert("RGB")
        how = INTERPOLATIONS[self.interpolation]
        if self.resize == "squash":
            square = (self.size, self.size)
            return image if image.size == square else image.resize(square, how)
        short = self.shorter or self.size
        image = _without_ends(image, short, self.size)
        width, height = image.size
        if min(width, height) != short:
            scaled = int(short * max(width, height) / min(width, height))  # truncated, as published
            width, height = (short, scaled) if width <= height else (scaled, short)
            image = image.resize((width, height), how)
        # Python rounds halves to even: a margin of 11 leaves 6 pixels on the left, one of 13 also 6.
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [..., H, W, 3] -> float32 [..., 3, H, W]."""
        values = np.moveaxis(pixels, -1, -3).astype(np.float32) / np.float32(255)
        values -= np.asarray(self.mean, dtype=np.float32)[:, None, None]
        values /= np.asarray(self.std, dtype=np.float32)[:, None, None]
        return np.ascontiguousarray(values)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `Preprocessing.from_dict` reads them back."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        return cls(**values)

    def to_huggingface(self) -> dict[str, Any]:
        """The `preprocessor_config.json` of Hugging Face transformers that does the same."""
        square = {"height": self.size, "width": self.size}
        return {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": self.shorter or self.size} if self.resize == "shortest" else square,
            "resample": int(INTERPOLATIONS[self.interpolation]),
            "do_center_crop": self.resize == "shortest",
            "crop_size": square,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any]) -> Preprocessing:
        """From `preprocessor_config.json`. Raises BackboneError for steps that CLIP does not have."""
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not config.get(step, True):
                raise BackboneError(f"preprocessor_config.json: {step} = false is not supported")
        if abs(config.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
            raise BackboneError(
                f"preprocessor_config.json: rescale_factor {config['rescale_factor']} is not 1/255"
            )
        scaled = config.get("size", {"shortest_edge": 224})
        cropped = None
        if config.get("do_center_crop", not _squashes(config)):
            cropped = _square(config.get("crop_size", 224), "crop_size")
        if isinstance(scaled, int):
            scaled = {"shortest_edge": scaled}
        names = {int(how): name for name, how in INTERPOLATIONS.items()}
        resample = int(config.get("resample", Image.Resampling.BICUBIC))
        common: dict[str, Any] = {
            "mean": config.get("image_mean", CLIP_MEAN),
            "std": config.get("image_std", CLIP_STD),
            "interpolation": names.get(resample, f"resample {resample}"),
        }
        if "shortest_edge" in scaled and cropped is not None:
            short = int(scaled["shortest_edge"])
            return cls(size=cropped, shorter=None if short == cropped else short, **common)
        if "height" in scaled and cropped in (None, _square(scaled, "size")):
            return cls(size=_square(scaled, "size"), resize="squash", **common)
        raise BackboneError(
            f"preprocessor_config.json: size {scaled} with crop_size {cropped} is not supported"
        )

    @classmethod
    def from_open_clip(cls, config: Mapping[str, Any], size: int = 224) -> Preprocessing:
        """From `preprocess_cfg` of open_clip_config.json; size: the image size of the model."""
        fields = {name: value for name, value in config.items() if value is not None}
        if fields.get("mode", "RGB") != "RGB":
            raise BackboneError(
                f'open_clip_config.json: pictures of mode "{fields["mode"]}" are not supported'
            )
        return cls(
            size=_square(fields.get("size", size), "size"),
            mean=fields.get("mean", CLIP_MEAN),
            std=fields.get("std", CLIP_STD),
            interpolation=fields.get("interpolation", "bicubic"),
            resize=fields.get("resize_mode", "shortest"),
        )


def _without_ends(image: Image.Image, short: int, size: int) -> Image.Image:
    """The middle of a picture that is far longer than wide: its ends are cropped anyway, and scaled they may take gigabytes.

    Pictures of up to 16 crops' length are left whole, so that they come out bit for bit as published.
    """
    width, height = image.size
    most = 16 * min(width, height) * size // short
    if max(width, height) <= max(most, 1):
        return image
    left, top = max(width - most, 0) // 2, max(height - most, 0) // 2
    return image.crop((left, top, left + min(width, most), top + min(height, most)))


def _squashes(config: Mapping[str, Any]) -> bool:
    """Whether a processor that does not say it leaves no part of the picture out."""
    return str(config.get("image_processor_type", "")).startswith("Siglip")


def _three(values: Any, what: str) -> tuple[float, float, float]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3:
        raise BackboneError(f"the {what} of the preprocessing needs 3 numbers, not {len(numbers)}")
    return numbers


def _square(size: Any, what: str) -> int:
    """One side of a size given as a number, a pair or {"height", "width"}."""
    if isinstance(size, int):
        return size
    sides = [size["height"], size["width"]] if isinstance(size, Mapping) else list(size)
    if sides[0] != sides[-1]:
        raise BackboneError(f"{what} {tuple(sides)} of the preprocessing is not square")
    return int(sides[0])
