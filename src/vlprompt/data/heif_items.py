"""How many pixels a HEIF or AVIF decodes for the picture that it shows, as its head says.

A picture may be put together from others (a grid of tiles, an overlay), which may be put together too. Decoders decode each
part as often as it is named, also where nothing of it is seen: forty kilobytes can ask for the same 67 million pixels a
thousand times, for a picture of 64 x 64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

MOST_ENTRIES = 100_000  # boxes, items with properties, and parts; pictures have some hundreds
MOST_NESTED = 16  # derived pictures in each other; cameras write one or two


@dataclass
class Work:
    """asked: pixels to decode for one picture, at most, and shown: those that it has. endless: more entries, or deeper
    nested, than any picture has."""

    asked: int = 0
    shown: int = 0
    endless: bool = False


@dataclass
class _Items:
    sizes: dict[int, int] = field(default_factory=dict)  # pixels, by item
    parts: dict[int, list[int]] = field(default_factory=dict)  # what an item is put together from


class _Endless(Exception):
    pass


def is_boxed(data: bytes) -> bool:
    return data[4:8] == b"ftyp"


def work_of(data: bytes) -> Work:
    """Of the picture that asks for most beyond what it shows; of a damaged file perhaps less than it claims."""
    try:
        items = _items(data)
        found, costs = Work(), dict[int, int]()
        for item, parts in items.parts.items():
            asked = _cost(item, items, costs, 0)
            shown = items.sizes.get(item) or max((items.sizes.get(part, 0) for part in parts), default=0)
            if asked - shown > found.asked - found.shown:
                found = Work(asked, shown)
        return found
    except _Endless:
        return Work(endless=True)


def _cost(item: int, items: _Items, costs: dict[int, int], depth: int) -> int:
    if depth > MOST_NESTED:
        raise _Endless
    if item not in items.parts:
        return items.sizes.get(item, 0)
    if item not in costs:
        costs[item] = sum(_cost(part, items, costs, depth + 1) for part in items.parts[item])
    return costs[item]


def _items(data: bytes) -> _Items:
    left = [MOST_ENTRIES]
    found = _Items()
    try:
        for kind, start, end in _boxes(data, 0, len(data), left):
            if kind == b"meta":
                for inner, at, to in _boxes(data, start + 4, end, left):
                    if inner == b"iref":
                        _read_parts(data, at, to, found, left)
                    elif inner == b"iprp":
                        _read_sizes(data, at, to, found, left)
    except struct.error:
        pass
    return found


def _boxes(data: bytes, start: int, end: int, left: list[int]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and where the content of each begins and ends."""
    while start + 8 <= end:
        _count(left, 1)
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        stop = end if size == 0 else start + size
        if size != 0 and size < head:
            return
        yield kind, start + head, min(stop, end)
        start = stop


def _count(left: list[int], number: int) -> None:
    left[0] -= number
    if left[0] < 0:
        raise _Endless


def _read_parts(data: bytes, start: int, end: int, found: _Items, left: list[int]) -> None:
    letter = "H" if data[start] == 0 else "I"
    width = struct.calcsize(letter)
    for kind, at, _ in _boxes(data, start + 4, end, left):
        if kind != b"dimg":
            continue
        (item,) = struct.unpack_from(f">{letter}", data, at)
        (count,) = struct.unpack_from(">H", data, at + width)
        _count(left, count)
        parts = struct.unpack_from(f">{count}{letter}", data, at + width + 2)
        found.parts.setdefault(item, []).extend(parts)


def _read_sizes(data: bytes, start: int, end: int, found: _Items, left: list[int]) -> None:
    areas: list[int] = []  # of each property in turn; 0 for those that are no size
    for kind, at, to in _boxes(data, start, end, left):
        if kind == b"ipco":
            for inner, place, _ in _boxes(data, at, to, left):
                width, height = struct.unpack_from(">II", data, place + 4) if inner == b"ispe" else (0, 0)
                areas.append(width * height)
        elif kind == b"ipma":
            _read_owners(data, at, areas, found, left)


def _read_owners(data: bytes, at: int, areas: list[int], found: _Items, left: list[int]) -> None:
    version, wide = data[at], data[at + 3] & 1
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(count):
        (item,) = struct.unpack_from(">I" if version else ">H", data, at)
        at += 4 if version else 2
        (number,) = struct.unpack_from(">B", data, at)
        _count(left, 1 + number)
        numbers = struct.unpack_from(f">{number}{'H' if wide else 'B'}", data, at + 1)
        at += 1 + number * (2 if wide else 1)
        for one in numbers:
            place = one & (0x7FFF if wide else 0x7F)
            if 0 < place <= len(areas) and areas[place - 1]:
                found.sizes[item] = max(found.sizes.get(item, 0), areas[place - 1])
