"""What the file of a picture may ask of its decoder, so that a small file takes neither minutes nor gigabytes.

Pillow reads heads in Python, piece by piece, and some formats altogether in Python, a byte at a time. Files made
for that have millions of empty pieces, tags that all name the same bytes, or scans without end. `Counted` bounds
what any head may cost; what is decoded in Python, and what no picture in use has, is refused.
"""

from __future__ import annotations

import io
import re
import struct

import numpy as np
from PIL import Image

from vlprompt.data import heif_items, jpeg2000

FREE_READS, BYTES_A_READ = (
    100_000,
    200,
)  # reads that a file may cost: so many, and one more for each so many bytes
GIF_READS, BYTES_A_GIF_READ = (
    8_000,
    10_000,
)  # two for a block of 255 bytes; comments are joined again with every block
FREE_BYTES, TIMES_READ = 16 * 2**20, 4  # bytes read: so many, and each byte of the file so many times
MOST_SEGMENTS = 100_000  # of a JPEG
MOST_SCANS = 50  # of a JPEG; encoders write 1, 3, or some 10 where it is progressive
MOST_CLAIMED = 2**16  # bytes that tags may name beyond twice those that are there

MOST_STRIPS = 100_000  # of a TIFF
MOST_TAGS = 2**16  # that are looked at; Pillow reads no more

# of a JPEG 2000; a tile takes 4 kB, a precinct 2 kB, a block 300 bytes, a packet 100 ns
MOST_PIECES = {"tiles": 65_000, "precincts": 400_000, "blocks": 2_000_000, "packets": 3_000_000}

# pixels that a HEIF or AVIF may decode for one that it shows, and so many more: tiles may lie partly outside
TIMES_DECODED, FREE_PIXELS = 2, 2**24

_STRIPS = (273, 324)  # where each strip, or each tile, lies
_MARKER = re.compile(
    rb"\xff[^\x00\xff\xd0-\xd8]"
)  # as libjpeg looks for them, without those that begin nothing
_EXIF, _INDEX = b"Exif\0\0", b"MPF\0"


class TooCostly(Exception):
    """A file that costs more than a picture of its size may. Its text says what is wrong with it."""


class Counted(io.BytesIO):
    """The bytes of a file; TooCostly once they are read in too many pieces, or again and again."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        size, gif = len(data), data[:4] == b"GIF8"
        self._reads = GIF_READS + size // BYTES_A_GIF_READ if gif else FREE_READS + size // BYTES_A_READ
        self._bytes = FREE_BYTES + TIMES_READ * size

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads -= 1
        found = super().read(size)
        self._bytes -= len(found)
        if self._reads < 0 or self._bytes < 0:
            raise TooCostly("made of far more pieces than a picture has")
        return found


def check_file(data: bytes) -> None:
    """What can be told before Pillow looks at the file; TooCostly."""
    if data[:3] == b"\xff\xd8\xff":
        _check_jpeg(data)
    elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiff(data)
    elif data[:4] == b"\0\0\1\0":
        _check_icon(data)
    elif data.startswith(jpeg2000.SIGNATURES):
        _check_jpeg2000(data)
    elif heif_items.is_boxed(data):
        _check_heif(data)


def check_opened(image: Image.Image) -> None:
    """What can be told of a head that Pillow has read, before the pixels are decoded; TooCostly."""
    for tile in getattr(image, "tile", ()):
        if tile[0] in Image.DECODERS:  # those written in Python
            raise TooCostly(_PYTHON.get(tile[0], "a variant of its format that is not read: save it as PNG"))


_PYTHON = {
    "ppm_plain": "numbers written as text (P1 to P3) are not read: save it as PNG",
    "ppm": "only 255 is read as its highest value (65535 in gray): save it as PNG",
    "bmp_rle": "a run-length encoded bitmap is not read: save it as PNG",
}


def check_tags(content: bytes) -> None:
    """TooCostly where tags of EXIF or of an index of pictures name more bytes than there are, together."""
    _, kinds, counts = _directory(content.removeprefix(_EXIF))
    widths = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8])[np.minimum(kinds, 18)]
    if float(counts @ widths) > 2 * len(content) + MOST_CLAIMED:
        raise TooCostly("its tags name the same bytes again and again")


def _directory(content: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, kinds and counts of values of the tags in the first directory of a TIFF; of EXIF too, which is one."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2], "")
    large = order and content[2:4] in (b"+\0", b"\0+")
    place, entry, count = (">Q", 20, ">Q") if large else (">I", 12, ">H")
    try:
        (start,) = struct.unpack_from(order + place[1], content, 8 if large else 4)
        (number,) = struct.unpack_from(order + count[1], content, start)
    except (struct.error, OverflowError):
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    start += struct.calcsize(count)
    number = max(0, min(number, (len(content) - start) // entry, MOST_TAGS))
    rows = np.frombuffer(content, np.uint8, entry * number, start if number else 0).reshape(-1, entry)

    def column(first: int, kind: str) -> np.ndarray:
        width = int(kind[1])
        return rows[:, first : first + width].copy().view((order or "<") + kind)[:, 0]

    return column(0, "u2"), column(2, "u2"), column(4, "u8" if large else "u4").astype(np.float64)


def _check_tiff(data: bytes) -> None:
    tags, _, counts = _directory(data)
    if counts[np.isin(tags, _STRIPS)].max(initial=0) > MOST_STRIPS:
        raise TooCostly(f"more than {MOST_STRIPS} strips or tiles")


def _check_jpeg(data: bytes) -> None:
    place, scans = 2, 0
    tags: list[bytes] = []
    index: list[bytes] = []
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, place)
        if found is None or found[0] == b"\xff\xd9":
            break
        start = found.end()
        if found[0] == b"\xff\x01":  # has no content
            place = start
            continue
        length = int.from_bytes(data[start : start + 2], "big")
        place = start + max(2, length)
        if found[0] == b"\xff\xda":
            scans += 1
            if scans > MOST_SCANS:
                raise TooCostly(f"more than {MOST_SCANS} scans in one JPEG")
        for marker, words, held in ((b"\xff\xe1", _EXIF, tags), (b"\xff\xe2", _INDEX, index)):
            if found[0] == marker and data.startswith(words, start + 2):
                held.append(data[start + 2 + len(words) : place])
    else:
        raise TooCostly("made of far more pieces than a picture has")
    check_tags(b"".join(tags))
    for content in index:
        check_tags(content)


def _check_jpeg2000(data: bytes) -> None:
    found = jpeg2000.pieces_of(data)
    if any(getattr(found, name) > most for name, most in MOST_PIECES.items()):
        raise TooCostly("cut into far more pieces than a picture has")


def _check_heif(data: bytes) -> None:
    found = heif_items.work_of(data)
    if found.endless or found.asked > TIMES_DECODED * found.shown + FREE_PIXELS:
        raise TooCostly("put together from far more pixels than it shows")


def _check_icon(data: bytes) -> None:
    """The bitmaps of an icon are opened while it is decoded."""
    (count,) = struct.unpack_from("<H", data, 4)
    for number in range(min(count, (len(data) - 6) // 16)):
        (start,) = struct.unpack_from("<I", data, 6 + 16 * number + 12)
        if data[start + 16 : start + 20] in (b"\1\0\0\0", b"\2\0\0\0"):  # how a bitmap is packed
            raise TooCostly(_PYTHON["bmp_rle"])
