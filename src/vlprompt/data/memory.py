"""A data set from Python values: pictures and labels that are already at hand."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.many_pictures import list_of_pictures
from vlprompt.data.naming import Classes, class_names, composed, sorted_keys
from vlprompt.data.pictures import LARGEST_FILE, Picture, open_picture
from vlprompt.errors import DataError, PictureError, nearest
from vlprompt.files import read_file


class Memory:
    """Pictures given as paths, bytes, PIL images or arrays, under the names 000000, 000001, ...

    PIL images and arrays become the bytes of PNG files at once, so that later changes to them change nothing
    here. PictureError for values that are no pictures.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures: dict[str, str | bytes] = {}
        self.files: dict[str, int] = {}
        for number, picture in enumerate(pictures):
            name = f"{number:06d}"
            kept = (
                os.fspath(picture) if isinstance(picture, (str, os.PathLike)) else _encoded(picture, number)
            )
            self.pictures[name] = kept
            self.files[name] = len(kept) if isinstance(kept, bytes) else _size(kept)

    def read(self, name: str) -> bytes:
        picture = self.pictures[name]
        if isinstance(picture, bytes):
            return picture
        try:
            return read_file(Path(picture), LARGEST_FILE)
        except OSError as error:
            raise PictureError(f"{picture}: cannot be read ({error.strerror or error})") from error

    def identity(self, name: str) -> tuple[str, int, int] | None:
        """As a source's, for paths; None for what lies in memory."""
        picture = self.pictures[name]
        if isinstance(picture, bytes):
            return None
        found = os.stat(picture)
        return os.path.abspath(picture), found.st_size, found.st_mtime_ns

    def stamp(self, name: str) -> str:
        picture = self.pictures[name]
        return (
            hashlib.blake2b(picture, digest_size=8).hexdigest()
            if isinstance(picture, bytes)
            else str(self.files[name])
        )

    def close(self) -> None:
        pass


def _encoded(picture: Picture, number: int) -> bytes:
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    out = io.BytesIO()
    open_picture(picture, name=f"picture {number}").save(out, "PNG", compress_level=1)
    return out.getvalue()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1  # said when it is read


def from_pictures(
    pictures: Sequence[Picture],
    labels: Sequence[Any],
    *,
    classes: Classes | None = None,
    name: str = "pictures",
    split: str = "train",
) -> Dataset:
    """A data set of one split.

    pictures: see `open_picture`; an array [N, H, W, 3] counts as N pictures.
    labels: one for each, strings or numbers. With a list of `classes` they are names from it or positions in
        it from 0, and classes without pictures are kept; or, like 1 to 5 for five names, as many whole numbers as
        there are names, which then follow the numbers in order.

    Raises DataError when the lengths differ, nothing is given, a label has no name, or there is one class only.
    """
    if isinstance(pictures, (str, os.PathLike, bytes, Image.Image)):
        raise DataError("pictures must be a list; put a single picture into [ ]")
    numbers = isinstance(pictures, np.ndarray) and pictures.dtype.kind not in "OUST"
    pictures = list(pictures) if numbers else list_of_pictures(pictures)
    labels = list(labels)
    if len(pictures) != len(labels):
        raise DataError(f"{len(pictures)} pictures but {len(labels)} labels; give one label for each picture")
    if len(pictures) == 0:
        raise DataError("no pictures are given")
    texts = [str(label.item() if isinstance(label, np.generic) else label) for label in labels]
    names = None if classes is None or isinstance(classes, (str, os.PathLike, Mapping)) else list(classes)
    if names is not None:
        same = {composed(str(name)): name for name in names}
        texts = [same.get(composed(text), text) for text in texts]
    if names is None:
        keys = sorted_keys(texts)
    elif set(texts) <= set(names):
        keys = names
    elif all(text.isdecimal() for text in texts):
        keys = _numbered(texts, len(names))
    else:
        unknown = next(text for text in texts if text not in names)
        raise DataError(f'label "{unknown}" is none of the classes; {nearest(unknown, names)}')
    if len(keys) < 2:
        raise DataError(f'there is only one class, "{keys[0]}"; at least two are needed')
    index = {key: label for label, key in enumerate(keys)}
    items = [Item(f"{number:06d}", index[text]) for number, text in enumerate(texts)]
    return Dataset(name, class_names(keys, names or classes), tuple(keys), {split: items}, Memory(pictures))


def _numbered(texts: Sequence[str], count: int) -> list[str]:
    """The whole numbers for which a list of so many names stands: 0 to count - 1, or else the given ones in order."""
    positions = [str(number) for number in range(count)]
    given = sorted(set(texts), key=int)
    if set(given) <= set(positions):
        return positions
    if len(given) == count:
        return given
    listed = ", ".join(given[:5]) + (", ..." if len(given) > 5 else "")
    raise DataError(
        f"label {given[-1]} has no name; {count} names are given for the labels {listed}: "
        "give a dict of label to name"
    )
