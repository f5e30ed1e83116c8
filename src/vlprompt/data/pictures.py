"""Pictures: anything a user hands in becomes an RGB `PIL.Image`, or a `PictureError` that says why not."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from PIL import Image, UnidentifiedImageError

from vlprompt.data.picture_files import (
    HEIF_MEND,
    Bare,
    heif_is_read,
    is_heif,
    turn_of,
    turned_by,
    without_side_data,
)
from vlprompt.data.picture_limits import Counted, TooCostly, check_file, check_opened
from vlprompt.errors import PictureError
from vlprompt.files import read_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

Picture: TypeAlias = Union[str, "os.PathLike[str]", bytes, Image.Image, "NDArray[Any]"]

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".avif"}
)
MOST_PIXELS = 89_478_485  # Pillow's own limit, beyond which it warns of a decompression bomb
# Pillow knows more, some of which start other programs (EPS) or are hardly used and tested
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "TGA", "PCX")
LARGEST_FILE = 512 * 2**20  # bytes


class TooManyPixels(PictureError):
    """A picture that is larger than pictures may be."""

    def __init__(self, name: str, size: tuple[int, int], most: int) -> None:
        told = f"{most // 10**6} million" if most >= 10**6 else str(most)
        super().__init__(f"{name}: {size[0]} x {size[1]} pixels are more than {told}")


def open_picture(
    picture: Picture, *, name: str = "", turn: bool = True, most_pixels: int = MOST_PIXELS
) -> Image.Image:
    """The picture as an RGB image of its own size.

    picture: a path, the bytes of a file, a PIL image, or an array [height, width(, 1, 3 or 4)] of uint8,
    uint16, bool or floats in [0, 1]. name: how error messages call it. turn: apply the EXIF orientation tag
    (cameras write it; CLIP's published pipeline ignores it, and pictures without the tag are left exactly as
    decoded). most_pixels: a limit below MOST_PIXELS for files and PIL images.

    Transparent pixels are put on white, 16-bit values are scaled to 8 bits, of an animation the first frame
    is taken, CMYK and palettes are converted. Raises PictureError for what is broken, cut off, empty or
    larger than MOST_PIXELS.
    """
    name = name or (str(picture) if isinstance(picture, (str, os.PathLike)) else "picture")
    if isinstance(picture, np.ndarray):
        return to_rgb(_from_array(picture, name))
    if isinstance(picture, Image.Image):
        return _decoded(picture, name, turn, most_pixels)
    if isinstance(picture, (str, os.PathLike)):
        picture = _content(Path(picture), name)
    if not isinstance(picture, (bytes, bytearray, memoryview)):
        kind = type(picture).__name__
        raise PictureError(f"{name}: a {kind} is no picture; give a path, bytes, a PIL image or an array")
    if len(picture) == 0:
        raise PictureError(f"{name}: the file is empty")
    data = bytes(picture)
    if is_heif(data) and not heif_is_read():
        raise PictureError(f"{name}: is a HEIC picture{HEIF_MEND}")
    try:
        bare = without_side_data(data)
        check_file(bare.data)
        opened = Image.open(Counted(bare.data), formats=_formats())
        check_opened(opened)
    except Exception as error:
        raise PictureError(f"{name}: {_reason(error)}") from error
    with opened:
        return _decoded(opened, name, turn, most_pixels, bare)


@lru_cache(maxsize=1)
def _formats() -> list[str]:
    """Those of FORMATS that this Pillow reads, and HEIF where pillow-heif is installed."""
    Image.init()
    return [name for name in (*FORMATS, *(("HEIF",) if heif_is_read() else ())) if name in Image.OPEN]


def _content(path: Path, name: str) -> bytes:
    """The bytes of a file; PictureError for what is none, or is too large."""
    try:
        return read_file(path, LARGEST_FILE)
    except (OSError, ValueError) as error:
        raise PictureError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _decoded(
    image: Image.Image, name: str, turn: bool, most_pixels: int, bare: Bare | None = None
) -> Image.Image:
    width, height = image.size
    most = min(most_pixels, MOST_PIXELS)
    if width * height > most:
        raise TooManyPixels(name, image.size, most)
    if width * height == 0:
        raise PictureError(f"{name}: {width} x {height} pixels")
    try:
        image.load()
        if image.width * image.height > most:  # icons say so only now
            raise TooManyPixels(name, image.size, most)
        if turn:
            told = bare is not None and bare.told
            way = turn_of(bare.orientation) if bare is not None and told else turned_by(image)
            image = image if way is None else image.transpose(way)
        return to_rgb(image)
    except TooManyPixels:
        raise
    except Exception as error:
        raise PictureError(f"{name}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Pillow's decoders raise whatever a damaged file makes them hit."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"more than {MOST_PIXELS // 10**6} million pixels"
    if isinstance(error, TooCostly):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that Pillow can read"
    return f"broken or cut off ({error})" if str(error) else "broken or cut off"


def to_rgb(image: Image.Image) -> Image.Image:
    """An RGB image of the same size; see `open_picture` for what happens to each mode."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image if type(image) is Image.Image else image.copy()
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        colours = image.convert("RGBA")
        ground = Image.new("RGBA", colours.size, "white")
        ground.alpha_composite(colours)
        return ground.convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Modes I, I;16 and F as L: 16 bits are divided by 257, floats in [0, 1] multiplied by 255."""
    values = np.asarray(image).astype(np.float64)
    np.nan_to_num(
        values, copy=False, nan=0.0, posinf=255.0, neginf=0.0
    )  # in place: large pictures take gigabytes
    if image.mode == "F" and values.size and values.max() <= 1.0:
        values *= 255.0
    elif image.mode.startswith("I;16") or (image.mode == "I" and values.size and values.max() > 255.0):
        values /= 257.0
    np.clip(np.rint(values, out=values), 0, 255, out=values)
    return Image.fromarray(values.astype(np.uint8))


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    shape = "x".join(map(str, array.shape))
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        channels_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; transpose it: channels come last" if channels_first else ""
        raise PictureError(f"{name}: an array of {shape} is no picture [height, width, 3]{hint}")
    if array.shape[0] * array.shape[1] > MOST_PIXELS:
        raise PictureError(f"{name}: {shape} is more than {MOST_PIXELS // 10**6} million pixels")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = np.rint(array / 257.0).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0.0 and array.max() <= 1.0):
            raise PictureError(
                f"{name}: floating-point pictures hold values from 0 to 1, no NaN or infinity; give uint8 otherwise"
            )
        array = np.rint(array * 255.0).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise PictureError(
            f"{name}: an array of {array.dtype} is no picture; give uint8, or floats from 0 to 1"
        )
    return Image.fromarray(np.ascontiguousarray(array))
