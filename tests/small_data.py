"""A dozen generated pictures of four classes that differ in colour, in folders or as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {
    "blue sea": (40, 60, 220),
    "green dog": (40, 200, 60),
    "grey fog": (128, 128, 128),
    "red cat": (220, 50, 40),
}
SPLITS = {"train": 3, "val": 1, "test": 2}


def picture(colour: tuple[int, int, int], number: int, size: tuple[int, int] = (40, 48)) -> np.ndarray:
    """uint8 [H, W, 3]: noise around a colour."""
    noise = np.random.default_rng([*colour, number]).integers(-50, 51, (*size, 3))
    return np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)


def picture_folder(folder: Path, splits: dict[str, int] | None = None, classes: int = 4) -> Path:
    """train/, val/ and test/ folders of class folders of PNG files."""
    for s, (split, count) in enumerate((splits or SPLITS).items()):
        for name, colour in list(COLOURS.items())[:classes]:
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(picture(colour, 100 * s + i)).save(place / f"{i}.png")
    return folder


def pictures_and_labels(count: int = 2) -> tuple[list[np.ndarray], list[str]]:
    pairs = [(picture(colour, i), name) for name, colour in COLOURS.items() for i in range(count)]
    return [p for p, _ in pairs], [label for _, label in pairs]
