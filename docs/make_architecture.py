"""Draws who imports whom, from the source: docs/images/architecture.svg; and the table of rooms on docs/architecture.md.

    python docs/make_architecture.py            writes both
    python docs/make_architecture.py --check    says whether they are up to date

A line goes from a room down to one that it imports; one that follows from two others is left out. Rooms of the ground
floor, which everything may import, have no lines. The title of a box (shown under the pointer) is the first line of
the room's docstring.
"""

from __future__ import annotations

import ast
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from import_graph import arrows, circles, modules, room_of  # noqa: E402
from parts import rewrite  # noqa: E402

PACKAGE = ROOT / "src" / "vlprompt"
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
WIDE, HIGH, GAP, RISE = 132, 44, 16, 96
STYLE = """
svg { font-family: system-ui, sans-serif; }
rect { fill: #eef3f8; stroke: #3b5b7a; }
.ground rect { fill: #f4f1ea; stroke: #8a7a55; }
path { fill: none; stroke: #3b5b7a; stroke-opacity: .45; stroke-width: 1.3; }
text { fill: #1c2833; font-size: 13px; font-weight: 600; text-anchor: middle; }
.soft { font-size: 10px; font-weight: 400; fill: #4a5a68; }
.left { text-anchor: start; }
@media (prefers-color-scheme: dark) {
  rect { fill: #22303c; stroke: #8fb3d4; }
  .ground rect { fill: #332f25; stroke: #c9b98a; }
  path { stroke: #8fb3d4; }
  text { fill: #e8eef3; }
  .soft { fill: #b7c4cf; }
}
"""


def rooms() -> dict[str, set[str]]:
    """Who imports whom, room by room; the package's own file and `python -m vlprompt` are no rooms of the picture."""
    held: dict[str, set[str]] = {
        room_of(name): set() for name in modules(PACKAGE) if room_of(name) not in ("vlprompt", "__main__")
    }
    for arrow in arrows(PACKAGE):
        one, other = room_of(arrow.importer), room_of(arrow.imported)
        if one != other and one in held and other in held:
            held[one].add(other)
    if found := circles(held):
        raise SystemExit(f"rooms import each other: {found}; see tests/test_imports.py")
    return held


def ground_of(graph: dict[str, set[str]]) -> set[str]:
    """Single files that import nothing but others of the ground: what everything stands on."""
    found: set[str] = set()
    while True:
        more = {
            room
            for room, below in graph.items()
            if below <= found and (PACKAGE / f"{room}.py").is_file() and room not in found
        }
        if not more:
            return found
        found |= more


def storeys(graph: dict[str, set[str]]) -> list[list[str]]:
    """Rooms by the longest way down, the lowest first; in a storey in alphabetical order."""
    height: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in height:
            height[room] = 1 + max((of(other) for other in graph[room]), default=-1)
        return height[room]

    for room in graph:
        of(room)
    return [sorted(r for r, h in height.items() if h == level) for level in range(max(height.values()) + 1)]


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that follow from others."""
    reach: dict[str, set[str]] = {}

    def below(room: str) -> set[str]:
        if room not in reach:
            reach[room] = set(graph[room]).union(*(below(other) for other in graph[room]), set())
        return reach[room]

    return {
        room: {other for other in held if not any(other in below(third) for third in held if third != other)}
        for room, held in graph.items()
    }


def said_of(room: str) -> str:
    """What a room says of itself: the first line of its docstring."""
    path = PACKAGE / f"{room}.py"
    path = path if path.is_file() else PACKAGE / room / "__init__.py"
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]


def drawn() -> str:
    """The picture as SVG."""
    graph = rooms()
    ground = ground_of(graph)
    upper = {room: below - ground for room, below in graph.items() if room not in ground}
    rows = storeys(upper)
    per_row = 6
    bottom = [sorted(ground)[i : i + per_row] for i in range(0, len(ground), per_row)]
    wide = max(per_row, *map(len, rows)) * (WIDE + GAP) + GAP
    top_of = {level: 20 + (len(rows) - 1 - level) * RISE for level in range(len(rows))}
    place: dict[str, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        left = (wide - len(row) * (WIDE + GAP) + GAP) / 2
        for i, room in enumerate(row):
            place[room] = (left + i * (WIDE + GAP), top_of[level])
    base = 20 + len(rows) * RISE
    for line, row in enumerate(bottom):
        left = (wide - len(row) * (WIDE + GAP) + GAP) / 2
        for i, room in enumerate(row):
            place[room] = (left + i * (WIDE + GAP), base + 8 + line * (HIGH + 12))
    height = base + 8 + len(bottom) * (HIGH + 12) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {height:g}" role="img" '
        f'aria-labelledby="title"><title id="title">Who imports whom in vlprompt</title><style>{STYLE}</style>'
    ]
    for room, below in sorted(reduced(upper).items()):
        for other in sorted(below):
            (x1, y1), (x2, y2) = place[room], place[other]
            a, b, c, d = x1 + WIDE / 2, y1 + HIGH, x2 + WIDE / 2, y2
            bend = min(40.0, (d - b) / 2)
            parts.append(f'<path d="M{a:g} {b:g} C{a:g} {b + bend:g} {c:g} {d - bend:g} {c:g} {d:g}"/>')
    parts.append(
        f'<text class="soft left" x="{GAP}" y="{base:g}">ground floor: everything above may import these</text>'
    )
    for room, (x, y) in sorted(place.items()):
        kind = ' class="ground"' if room in ground else ""
        parts.append(
            f'<g{kind}><title>{escape(said_of(room))}</title><rect x="{x:g}" y="{y:g}" width="{WIDE}" '
            f'height="{HIGH}" rx="6"/><text x="{x + WIDE / 2:g}" y="{y + 27:g}">{escape(room)}</text></g>'
        )
    return "\n".join([*parts, "</svg>", ""])


def table(name: str) -> str:
    """Every room with what it says of itself and what it imports beside the ground floor, the highest first."""
    graph = rooms()
    ground = ground_of(graph)
    upper = {room: below - ground for room, below in graph.items() if room not in ground}
    lines = ["| room | what it is | imports |", "|---|---|---|"]
    for row in reversed(storeys(upper)):
        for room in row:
            below = ", ".join(f"`{other}`" for other in sorted(upper[room])) or "the ground floor alone"
            lines.append(f"| `{room}` | {said_of(room)} | {below} |")
    lines += [f"| `{room}` | {said_of(room)} | ground floor |" for room in sorted(ground)]
    return "\n".join(lines) + "\n"


def main() -> int:
    code = rewrite([PAGE], "rooms", table, "make_architecture.py")
    new = drawn()
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(new, encoding="utf-8")
    elif not PICTURE.is_file() or PICTURE.read_text(encoding="utf-8") != new:
        print(
            "images/architecture.svg is not up to date: run python docs/make_architecture.py", file=sys.stderr
        )
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
