"""One picture or many, in any of the containers that people keep them in, as a list."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from vlprompt.data.pictures import Picture
from vlprompt.errors import DataError


def list_of_pictures(pictures: Picture | Iterable[Picture] | Any) -> list[Any]:
    """One picture as a list of one; many from a list, a generator, a NumPy array or a pandas Series.

    An array of texts or objects [N] or [N, 1] is N pictures, one of numbers [N, H, W, 3] too; any other array of numbers is
    one picture. DataError for a table of several columns.
    """
    if isinstance(pictures, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)):
        return [str(pictures) if isinstance(pictures, np.str_) else pictures]
    if hasattr(pictures, "to_pylist"):  # pyarrow, whose texts are no NumPy array without a copy
        pictures = pictures.to_pylist()
    elif hasattr(pictures, "to_numpy") and not isinstance(pictures, np.ndarray):  # pandas, polars
        pictures = np.asarray(pictures.to_numpy(), dtype=object)
    if isinstance(pictures, np.ndarray):
        if pictures.dtype.kind not in "OUST":
            return list(pictures) if pictures.ndim == 4 else [pictures]
        if pictures.ndim > 1 and pictures.size != len(pictures):
            raise DataError(
                f"a table of {'x'.join(map(str, pictures.shape))} is no list of pictures: give its column of pictures"
            )
        pictures = [
            os.fsdecode(one) if pictures.dtype.kind == "S" else one for one in pictures.ravel().tolist()
        ]
    return list(pictures)
