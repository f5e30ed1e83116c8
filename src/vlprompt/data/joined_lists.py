"""Lists that belong together: one gives each picture a number, others say of the number its label or its split.

images.txt               1 001.Albatross/a.jpg
image_class_labels.txt   1 1
train_test_split.txt     1 0
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from vlprompt.data.tabular_text import Table


def joined(tables: Sequence[Table], names_pictures: Callable[[Table, str], bool]) -> list[Table]:
    """The same tables; those that speak of the numbers of another one's pictures are columns of that one.

    names_pictures: whether most cells of a column are paths or names of pictures that are there.
    """
    named = {id(table): [c for c in table.columns if names_pictures(table, c)] for table in tables}
    left = list(tables)
    for index in tables:
        key = next((c for c in index.columns if _is_key(index, c)), None)
        if len(named[id(index)]) != 1 or key is None or index not in left:
            continue
        numbers = {row[key] for row in index.rows}
        for other in tables:
            if other is index or other not in left or named[id(other)]:
                continue
            own = next(
                (c for c in other.columns if _is_key(other, c) and _speaks_of(other, c, numbers)), None
            )
            if own is None or (not other.headed and len(other.columns) != 2):
                continue
            place = left.index(next(t for t in left if t.name == index.name))
            left[place] = _with(left[place], key, other, own)
            left.remove(other)
    return left


def _is_key(table: Table, column: str) -> bool:
    """Whether each row has a number of its own there."""
    cells = [row.get(column, "") for row in table.rows]
    return len(cells) > 1 and all(map(str.isdigit, cells)) and len(set(cells)) == len(cells)


def _speaks_of(table: Table, column: str, numbers: set[str]) -> bool:
    cells = {row[column] for row in table.rows}
    return cells <= numbers and 2 * len(cells) > len(numbers)


def _with(index: Table, key: str, other: Table, own: str) -> Table:
    """The index with the columns of the other; a column without a header is called as its file."""
    stem = other.name.rpartition("/")[2].rpartition(".")[0]
    called = {c: c if other.headed else stem for c in other.columns if c != own}
    called = {c: name if name not in index.columns else f"{stem} {name}" for c, name in called.items()}
    of = {row[own]: row for row in other.rows}
    rows = [row | {name: of.get(row[key], {}).get(c, "") for c, name in called.items()} for row in index.rows]
    return replace(index, columns=(*index.columns, *called.values()), rows=rows)
