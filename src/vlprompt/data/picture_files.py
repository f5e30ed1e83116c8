"""What lies in picture files beside pixels: how a camera was held, side data that is not needed; and HEIF."""

from __future__ import annotations

import importlib
import importlib.util
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image

from vlprompt.data.picture_limits import check_tags

ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_JPEG_SIDE = frozenset(bytes([0xE0 + n]) for n in range(1, 16) if n != 14) | {
    b"\xfe"
}  # 14 says how colours are stored
_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])\s*[<\"']")
_WIDTHS = {1: "B", 4: "I", 6: "b", 8: "h", 9: "i"}  # of values, by the kind of a tag
MOST_PIECES = 50_000
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
)
HEIF_MEND = "; pip install 'vlprompt[heif]' reads HEIC"


def is_heif(data: bytes) -> bool:
    """Whether a file begins like a HEIC picture, whatever it is called."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS and b"avif" not in data[16:32]


@lru_cache(maxsize=1)
def heif_is_read() -> bool:
    """Whether pillow-heif is installed; Pillow opens HEIC pictures from then on."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    importlib.import_module("pillow_heif").register_heif_opener()
    return True


def turn_of(orientation: Any) -> Image.Transpose | None:
    """How a picture with this orientation tag is to be turned to stand as it was seen; None where it stands so."""
    try:
        found = int(orientation[0] if isinstance(orientation, tuple) else orientation)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return _TURNS.get(found)


def turned_by(image: Image.Image) -> Image.Transpose | None:
    """The same of an opened picture, from its EXIF or XMP; other tags may be damaged or too costly."""
    held = image.info.get("exif")
    try:
        check_tags(held if isinstance(held, bytes) else b"")
        return turn_of(image.getexif().get(ORIENTATION))
    except Exception:  # Pillow reads all tags at once, and raises whatever a damaged one makes it hit
        return turn_of(orientation_of(held))


def orientation_of(exif: object) -> int | None:
    """The orientation in the first directory of raw EXIF, or None."""
    if not isinstance(exif, bytes):
        return None
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", data, at)
            if tag == ORIENTATION:
                value: int = struct.unpack_from(f"{order}{_WIDTHS.get(kind, 'H')}", data, at + 8)[0]
                return value
    except struct.error:
        return None
    return None


@dataclass(frozen=True)
class Bare:
    """A picture file without side data. orientation: what that said, or None; told: whether it was looked for."""

    data: bytes
    orientation: int | None = None
    told: bool = False


def without_side_data(data: bytes) -> Bare:
    """A PNG or JPEG without texts, profiles, previews and tags, some of which Pillow refuses when they are large or
    damaged, with the orientation they held; other files as they are."""
    if data.startswith(_PNG):
        return _bare_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _bare_jpeg(data)
    return Bare(data)


def _bare_png(data: bytes) -> Bare:
    kept, side = [_PNG], []
    at = len(_PNG)
    for _ in range(MOST_PIECES):
        if at + 12 > len(data):
            break
        kind = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind in _PNG_NEEDED:
            kept.append(data[at:end])
        elif kind in (b"eXIf", b"iTXt"):
            side.append(data[at + 8 : end - 4])
        at = end
    else:
        return Bare(data)  # made to be costly, which is said elsewhere
    return Bare(b"".join([*kept, data[at:]]), _told_by(side), told=True)


def _bare_jpeg(data: bytes) -> Bare:
    kept, side = [data[:2]], []
    at = 2
    for _ in range(MOST_PIECES):
        marker = data[at + 1 : at + 2]
        if data[at : at + 1] != b"\xff" or not b"\xc0" <= marker <= b"\xfe" or b"\xd0" <= marker <= b"\xda":
            break  # the pixels, or what is no piece
        end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        if marker in _JPEG_SIDE:
            side += [data[at + 4 : end]] if marker == b"\xe1" else []
        else:
            kept.append(data[at:end])
        at = end
    else:
        return Bare(data)
    return Bare(b"".join([*kept, data[at:]]), _told_by(side), told=True)


def _told_by(side: list[bytes]) -> int | None:
    """The orientation in EXIF, else in XMP that is not compressed."""
    for content in side:
        if (found := orientation_of(content)) is not None:
            return found
    for content in side:
        if (text := _XMP.search(content)) is not None:
            return int(text[1])
    return None
