"""Labels that pictures have in their names, before a number: cat.12.jpg and great_pyrenees_7.jpg."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from vlprompt.data.list_files import Row
from vlprompt.data.naming import composed
from vlprompt.errors import DataError

BY_NAMES = "names"  # given for a list of labels, it means these
_NUMBERED = re.compile(r"(.*?[^\W\d_].*?)[\W_]*\d+\W*")


def label_of(path: str) -> str:
    """What stands before the number at the end of a picture's name; "" where nothing does."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    found = _NUMBERED.fullmatch(stem)
    return composed(found[1]) if found else ""


def labels_in_names(pictures: Iterable[str]) -> list[Row]:
    """A row for each picture with such a name; DataError where these are fewer than two labels."""
    rows = [Row(path, label) for path in pictures if (label := label_of(path))]
    if len({row.label for row in rows}) < 2:
        raise DataError(
            "the names of the pictures hold fewer than two labels before their numbers, as cat.1.jpg and dog.1.jpg would"
        )
    return rows


def told_by_names(pictures: Sequence[str]) -> str:
    """What helps, in brackets, where the names of pictures seem to hold their labels; "" where they do not."""
    counts = Counter(map(label_of, pictures))
    if len(counts) < 2 or "" in counts or min(counts.values()) < 2:
        return ""
    name = pictures[0].rpartition("/")[2]
    return f' (if their names say what is on them, {name}: "{label_of(name)}", give --labels {BY_NAMES})'
