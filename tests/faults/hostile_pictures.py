"""Small files that make a decoder work for minutes or take gigabytes: what strangers could send as a picture.

`named(scale)` gives them all by name; at scale 1 they are as large as those of the attacks that were seen.
"""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

HEIF = importlib.util.find_spec("pillow_heif") is not None


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


def boxed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full(kind: bytes, content: bytes, version: int = 0) -> bytes:
    return boxed(kind, bytes([version, 0, 0, 0]) + content)


def heif(
    coded: bytes, tile: int, kind: bytes, body: bytes, shown: tuple[int, int], parts: list[list[int]]
) -> bytes:
    """A HEIC of one coded square (as an encoder wrote it), and items that are put together from others.

    kind, body, shown: of each such item. parts: what each is made of: 1 is the coded one, 2 the first of these, and so on.
    """
    place = coded.index(b"hvcC") - 4
    configuration = coded[place : place + int.from_bytes(coded[place : place + 4], "big")]
    at = coded.index(b"mdat")
    payload = coded[at + 4 : at - 4 + int.from_bytes(coded[at - 4 : at], "big")]
    count = 1 + len(parts)
    sizes = [full(b"ispe", struct.pack(">II", *size)) for size in ((tile, tile), shown)]
    properties = boxed(b"ipco", configuration + b"".join(sizes) + full(b"pixi", bytes([3, 8, 8, 8])))
    owners = struct.pack(">IHB3B", count, 1, 3, 0x81, 2, 4)
    infos = full(b"infe", struct.pack(">HH4s", 1, 0, b"hvc1") + b"\0", 2)
    references = b""
    for item, made_of in enumerate(parts, start=2):
        owners += struct.pack(">HBBB", item, 2, 3, 4)
        infos += full(b"infe", struct.pack(">HH4s", item, 0, kind) + b"\0", 2)
        told = struct.pack(f">HH{len(made_of)}H", item, len(made_of), *made_of)
        references += boxed(b"dimg", told)

    def meta(start: int) -> bytes:
        places = struct.pack(">HHHHHII", count, 1, 0, 0, 1, start, len(payload))
        for item in range(2, count + 1):
            places += struct.pack(">HHHHII", item, 1, 0, 1, 0, len(body))
        return full(
            b"meta",
            full(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + full(b"pitm", struct.pack(">H", count))
            + full(b"iloc", b"\x44\0" + places, 1)
            + full(b"iinf", struct.pack(">H", count) + infos)
            + full(b"iref", references)
            + boxed(b"iprp", properties + full(b"ipma", owners))
            + boxed(b"idat", body),
        )

    kinds = boxed(b"ftyp", b"heic\0\0\0\0mif1heic")
    return kinds + meta(len(kinds) + len(meta(0)) + 8) + boxed(b"mdat", payload)


def coded_square(side: int) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    Image.new("RGB", (side, side), (10, 20, 30)).save(out, "HEIF")
    return out.getvalue()


def heif_grid(scale: float) -> bytes:
    """The same square 900 times in a grid of which a corner is shown."""
    side, across = max(64, int(2048 * scale**0.5) // 64 * 64), 30
    body = bytes([0, 0, across - 1, across - 1]) + struct.pack(">HH", 64, 64)
    return heif(coded_square(side), side, b"grid", body, (64, 64), [[1] * across**2])


def heif_grids_in_grids(scale: float) -> bytes:
    """Each grid holds the one before it many times."""
    across = 4
    body = bytes([0, 0, across - 1, across - 1]) + struct.pack(">HH", 64, 64)
    return heif(
        coded_square(64),
        64,
        b"grid",
        body,
        (64, 64),
        [[item] * across**2 for item in range(1, int(12 * scale) + 2)],
    )


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
    **(
        {"HEIC of one tile again and again": heif_grid, "HEIC of grids in grids": heif_grids_in_grids}
        if HEIF
        else {}
    ),
}


def named(scale: float = 1.0) -> dict[str, bytes]:
    return {name: make(scale) for name, make in KINDS.items()}


def noise(side: int, kind: str, **more: object) -> bytes:
    """An honest picture that takes its time."""
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **more)
    return out.getvalue()
