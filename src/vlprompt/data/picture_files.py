"""What lies in picture files beside pixels: how a camera was held, side data that is not needed; and HEIF."""

from __future__ import annotations

import importlib
import importlib.util
import struct
from functools import lru_cache

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
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"})
_XMP = b"XML:com.adobe.xmp\0\0"  # not compressed; it may hold the orientation
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


def turned_by(image: Image.Image) -> Image.Transpose | None:
    """How a picture is to be turned to stand as it was seen, from its EXIF or XMP; None where it stands so.

    The orientation alone is read, so that other tags may be damaged or too costly.
    """
    held = image.info.get("exif")
    try:
        check_tags(held if isinstance(held, bytes) else b"")
        found = image.getexif().get(ORIENTATION)
    except Exception:  # Pillow reads all tags at once, and raises whatever a damaged one makes it hit
        found = orientation_of(held)
    if isinstance(found, tuple):
        found = found[0] if found else None
    try:
        return _TURNS.get(int(found)) if found is not None else None
    except (TypeError, ValueError, OverflowError):
        return None


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
                value: int = struct.unpack_from(f"{order}{'I' if kind in (4, 9) else 'H'}", data, at + 8)[0]
                return value
    except struct.error:
        return None
    return None


def without_side_data(data: bytes) -> bytes:
    """The file without texts, profiles and previews of PNG, which Pillow refuses from some size on; others as they are."""
    if not data.startswith(_PNG):
        return data
    kept, at, left_out = [_PNG], len(_PNG), 0
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + size
        kind = data[at + 4 : at + 8]
        if kind in _PNG_NEEDED or (kind == b"iTXt" and size < 2**16 and data[at + 8 :].startswith(_XMP)):
            kept.append(data[at:end])
        else:
            left_out += end - at
        at = end
    if not left_out:
        return data
    return b"".join([*kept, data[at:]])
