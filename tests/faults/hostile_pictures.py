"""Small files that make a decoder work for minutes or take gigabytes: what strangers could send as a picture.

`named(scale)` gives them all by name; at scale 1 they are as large as those of the attacks that were seen.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image


def plain_ppm(scale: float) -> bytes:
    """Numbers as text, with comments between them."""
    side = max(16, int(260 * scale**0.5))
    body = b"7\n#\n" * (side * side * 3)
    return b"P3\n%d %d\n255\n" % (side, side) + body


def odd_maxval(scale: float, kind: bytes = b"P6", most: int = 1) -> bytes:
    """Values that are to be scaled one by one."""
    side = max(16, int(2500 * scale**0.5))
    return b"%s\n%d %d\n%d\n" % (kind, side, side, most) + bytes(side * side * (3 if kind == b"P6" else 1))


def odd_gray(scale: float) -> bytes:
    return odd_maxval(scale, b"P5", 7)


def header_comment(scale: float) -> bytes:
    return b"P6\n#" + b"x" * int(20e6 * scale) + b"\n4 4\n255\n" + bytes(48)


def run_length_bmp(scale: float) -> bytes:
    """RLE8: two bytes for a run of one pixel."""
    side = max(16, int(2500 * scale**0.5)) // 4 * 4
    body = b"".join([b"\x01\x05" * side + b"\0\0"] * side) + b"\0\1"
    table = bytes(1024)
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(body), 0, 0, 256, 256)
    start = 14 + len(head) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + table + body


def many_scans(scale: float) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    out = io.BytesIO()
    side = max(64, int(2500 * scale**0.5))
    Image.new("L", (side, side), 90).save(out, "JPEG", progressive=True, quality=10)
    data = out.getvalue()
    place = data.rindex(b"\xff\xda")
    return data[:place] + data[place:-2] * max(10, int(3000 * scale)) + data[-2:]


def many_markers(scale: float) -> bytes:
    """A JPEG with millions of empty application segments."""
    out = io.BytesIO()
    Image.new("L", (16, 16)).save(out, "JPEG")
    return out.getvalue()[:2] + b"\xff\xe3\x00\x02" * int(5e6 * scale) + out.getvalue()[2:]


def many_chunks(scale: float) -> bytes:
    """A PNG with millions of empty chunks."""
    out = io.BytesIO()
    Image.new("L", (16, 16)).save(out, "PNG")
    data = out.getvalue()
    empty = struct.pack(">I", 0) + b"zzZz" + struct.pack(">I", zlib.crc32(b"zzZz"))
    return data[:33] + empty * int(1.6e6 * scale) + data[33:]


def gif_comment(scale: float) -> bytes:
    """Comments that Pillow joins piece by piece."""
    out = io.BytesIO()
    Image.new("P", (16, 16)).save(out, "GIF")
    data = out.getvalue()
    place = data.index(b",", 13 + 3)
    block = b"\xff" + b"c" * 255
    return data[:place] + b"!\xfe" + block * int(80_000 * scale) + b"\0" + data[place:]


def gif_blocks(scale: float) -> bytes:
    out = io.BytesIO()
    Image.new("P", (16, 16)).save(out, "GIF")
    data = out.getvalue()
    place = data.index(b",", 13 + 3)
    return data[:place] + b"!\x01" + b"\x01c" * int(10e6 * scale) + b"\0" + data[place:]


def tiff_tags(scale: float) -> bytes:
    """Every tag of a directory points at the same bytes."""
    return b"II*\0" + _directory(max(200, int(1000 * scale)), int(20e6 * scale))


def _directory(tags: int, size: int) -> bytes:
    own = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    own += [(278, 4, 1, 16), (279, 4, 1, 256)]
    entries = own + [(40_000 + n, 1, size, 8) for n in range(tags)]
    packed = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    body = bytes(max(size, 300))
    return struct.pack("<I", 8 + len(body)) + body + packed + bytes(4)


def exif_tags(scale: float) -> bytes:
    """The same in the EXIF of a JPEG, which may come in many segments."""
    content = b"II*\0" + _directory(max(200, int(1000 * scale)), int(5e6 * scale))
    parts = [content[i : i + 65_000] for i in range(0, len(content), 65_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(p) + 8) + b"Exif\0\0" + p for p in parts)
    out = io.BytesIO()
    Image.new("L", (16, 16)).save(out, "JPEG")
    return b"\xff\xd8" + segments + out.getvalue()[20:]


def png_exif(scale: float) -> bytes:
    content = b"II*\0" + _directory(max(200, int(1000 * scale)), int(5e6 * scale))
    out = io.BytesIO()
    Image.new("L", (16, 16)).save(out, "PNG")
    data = out.getvalue()
    chunk = struct.pack(">I", len(content)) + b"eXIf" + content
    return data[:33] + chunk + struct.pack(">I", zlib.crc32(b"eXIf" + content)) + data[33:]


def jp2_boxes(scale: float) -> bytes:
    box = struct.pack(">I", 8) + b"free"
    return b"\0\0\0\x0cjP  \r\n\x87\n" + box * int(2.5e6 * scale)


def icon_of_a_large_picture(scale: float) -> bytes:
    """An icon of 256 x 256 whose PNG is another size."""
    out = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(out, "PNG")
    data = out.getvalue()
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 8, len(data), 22) + data


def tiff_strips(scale: float) -> bytes:
    """A directory with millions of strips."""
    count = int(2e6 * scale)
    offsets = struct.pack("<I", 8) * count
    own = [(256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    own += [(273, 4, count, 8), (278, 4, 1, 1), (279, 4, count, 8)]
    packed = struct.pack("<H", len(own)) + b"".join(struct.pack("<HHII", *entry) for entry in own)
    return b"II*\0" + struct.pack("<I", 8 + len(offsets)) + offsets + packed + bytes(4)


def tiff_of_scans(scale: float) -> bytes:
    """A TIFF whose JPEG strip has thousands of scans."""
    body = many_scans(scale)
    side = max(64, int(2500 * scale**0.5))
    own = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 7), (262, 3, 1, 1)]
    own += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, side), (279, 4, 1, len(body))]
    packed = struct.pack("<H", len(own)) + b"".join(struct.pack("<HHII", *entry) for entry in own)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + packed + bytes(4)


def jpeg2000(scale: float, style: dict[int, int], bare: bool = False, before: bytes = b"") -> bytes:
    """A small JPEG 2000 of 9 kB; style: bytes of the head that says how it is cut, by their place.

    before: what stands in front of that head.
    """
    side = max(64, int(2048 * scale**0.5) // 2 * 2)
    out = io.BytesIO()
    more = {"precinct_size": (128, 128), "codeblock_size": (64, 64), "no_jp2": bare}
    Image.new("RGB", (side, side)).save(out, "JPEG2000", **more)
    data = bytearray(out.getvalue())
    start = data.index(b"\xff\x52")
    for place, value in style.items():
        data[start + place] = value
    return bytes(data[:start] + before + data[start:])


FINE = dict.fromkeys(range(14, 20), 0x11)  # precincts of 2 x 2


def jp2_precincts(scale: float) -> bytes:
    return jpeg2000(scale, FINE)


def j2k_precincts(scale: float) -> bytes:
    """Behind a marker that nobody knows, which decoders pass over."""
    return jpeg2000(scale, FINE, True, b"\xff\x30")


def jp2_layers(scale: float) -> bytes:
    """65,535 layers of many precincts."""
    return jpeg2000(scale, {6: 255, 7: 255})


def jp2_blocks(scale: float) -> bytes:
    return jpeg2000(8 * scale, {10: 0, 11: 0} | dict.fromkeys(range(14, 20), 0xFF))


KINDS: dict[str, Callable[[float], bytes]] = {
    "plain PPM": plain_ppm,
    "P6 with maxval 1": odd_maxval,
    "P5 with maxval 7": odd_gray,
    "comment in a PPM header": header_comment,
    "run-length BMP": run_length_bmp,
    "JPEG of many scans": many_scans,
    "JPEG of many markers": many_markers,
    "PNG of many chunks": many_chunks,
    "GIF with a long comment": gif_comment,
    "GIF of small blocks": gif_blocks,
    "TIFF whose tags share bytes": tiff_tags,
    "EXIF whose tags share bytes": exif_tags,
    "PNG with such EXIF": png_exif,
    "JPEG 2000 of many boxes": jp2_boxes,
    "JPEG 2000 of tiny precincts": jp2_precincts,
    "bare JPEG 2000 of tiny precincts": j2k_precincts,
    "JPEG 2000 of endless layers": jp2_layers,
    "JPEG 2000 of tiny blocks": jp2_blocks,
    "icon of a large picture": icon_of_a_large_picture,
    "TIFF of many strips": tiff_strips,
    "TIFF of many scans": tiff_of_scans,
}


def named(scale: float = 1.0) -> dict[str, bytes]:
    return {name: make(scale) for name, make in KINDS.items()}


def noise(side: int, kind: str, **more: object) -> bytes:
    """An honest picture that takes its time."""
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **more)
    return out.getvalue()
