"""Into how many pieces a JPEG 2000 is cut, as its head says: a decoder makes room for each before it looks for its bytes.

Of a picture of 2048 x 2048 pixels, a file of nine kilobytes can claim millions of precincts (kilobytes of memory each) and
billions of packets (a loop each).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURES = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")  # in boxes, and bare
MOST_HEADS = 100_000  # boxes, markers and parts of tiles; no picture has so many
# what decoders know; others are passed over two bytes at a time until one of these comes
_KNOWN = frozenset(bytes.fromhex("50515253555758595c5d5e5f60616364747577789091"))
_SIZE, _STYLE, _STYLE_OF_ONE, _TILE, _DATA, _END = 0x51, 0x52, 0x53, 0x90, 0x93, 0xD9


@dataclass
class Pieces:
    """tiles: times components. precincts, blocks, packets: of the whole picture, if all of it is cut in the finest way
    that is stated anywhere."""

    tiles: int = 0
    precincts: int = 0
    blocks: int = 0
    packets: int = 0


def pieces_of(data: bytes) -> Pieces:
    """What is found of them; of a damaged file perhaps less than it claims."""
    found = Pieces()
    width = height = parts = layers = 0
    for kind, content in _markers(data, _start(data)):
        try:
            if kind is None:
                found.tiles = len(data)  # at least as many as markers
            elif kind == _SIZE:
                right, low, left, top, wide, high, from_left, from_top, parts = struct.unpack_from(
                    ">2x8IH", content
                )
                width, height = right - left, low - top
                across, down = _parts(right - from_left, wide), _parts(low - from_top, high)
                found.tiles = max(found.tiles, across * down * parts)
            elif kind == _STYLE:
                has_sizes, layers = content[0] & 1, max(layers, int.from_bytes(content[2:4], "big"))
                _count(found, width, height, parts, layers, content[5:], bool(has_sizes))
            elif kind == _STYLE_OF_ONE:
                at = 1 if parts < 257 else 2
                _count(found, width, height, parts, layers, content[at + 1 :], bool(content[at] & 1))
        except (struct.error, IndexError):
            break
    return found


def _count(
    found: Pieces, width: int, height: int, parts: int, layers: int, style: bytes, sized: bool
) -> None:
    """style: levels, code-block sizes, two more, and sizes of precincts from the coarsest resolution on."""
    levels, across, down = style[0], style[1] + 2, style[2] + 2
    precincts = blocks = 0
    for level in range(min(levels, 32) + 1):
        size = style[5 + level] if sized else 0xFF
        one = level > 0
        w, h = (_parts(side, 1 << (levels - level)) for side in (width, height))
        precincts += _parts(w, 1 << (size & 15)) * _parts(h, 1 << (size >> 4))
        block = (1 << min(across, max(0, (size & 15) - one)), 1 << min(down, max(0, (size >> 4) - one)))
        blocks += (3 if one else 1) * _parts(w >> one, block[0]) * _parts(h >> one, block[1])
    found.precincts = max(found.precincts, precincts * parts)
    found.blocks = max(found.blocks, blocks * parts)
    found.packets = max(found.packets, max(precincts * parts, found.tiles * (levels + 1)) * layers)


def _parts(side: int, size: int) -> int:
    return -(-max(0, side) // size) if size else 0


def _start(data: bytes) -> int:
    """Where the code begins; the end of the file if nowhere."""
    if data.startswith(SIGNATURES[1]):
        return 0
    at = 0
    for _ in range(MOST_HEADS):
        if at + 8 > len(data):
            break
        length, head = int.from_bytes(data[at : at + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if data[at + 4 : at + 8] == b"jp2c":
            return at + head
        if length < head:
            break
        at += length
    return len(data)


def _markers(data: bytes, at: int) -> Iterator[tuple[int | None, bytes]]:
    """Kind and content of the markers in all heads: that of the picture and those of its tiles' parts; None for too many."""
    at += 2
    end_of_part = 0
    for _ in range(MOST_HEADS):
        while at + 4 <= len(data) and (
            data[at] != 0xFF or (data[at + 1] not in _KNOWN and data[at + 1] not in (_DATA, _END))
        ):
            at += 2
        if at + 4 > len(data):
            return
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == _TILE:
            of_part = int.from_bytes(data[at + 6 : at + 10], "big")
            end_of_part = at + of_part if of_part else len(data)
        if kind == _DATA:
            if end_of_part <= at:
                return
            at = end_of_part
            continue
        if kind == _END or length < 2:
            return
        yield kind, data[at + 4 : at + 2 + length]
        at += 2 + length
    yield None, b""
