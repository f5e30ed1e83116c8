"""sort: pictures copied or linked into a folder for each class, those that a run is not sure of apart.

OUT/red cat/IMG_1.jpg   OUT/unsure/IMG_2.jpg      nothing is moved, nothing that is there is replaced
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlprompt.errors import DataError, RunError
from vlprompt.files import copy_whole
from vlprompt.runs.run import Run

UNSURE = "unsure"
CHUNK = 256
_FORBIDDEN = '<>:"/\\|?*'


@dataclass
class Sorted:
    """How many pictures went where; unreadable: (path, reason)."""

    counts: Counter[str] = field(default_factory=Counter)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def sort(
    run: Run,
    pictures: Sequence[str],
    out: str | Path,
    *,
    coverage: float | None = 0.95,
    link: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sorted:
    """Puts each picture into the folder of its class below `out`.

    coverage: share of pictures of known classes that get an answer; the others go into `unsure`; None: all get one.
    link: symbolic links instead of copies. RunError for an `out` that holds something, and for a run without thresholds.
    """
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(f"{target}: exists already and is not empty: choose another folder (--out)")
    folders = {name: folder_name(name) for name in run.class_names}
    found = Sorted()
    for start in range(0, len(pictures), CHUNK):
        part = pictures[start : start + CHUNK]
        for path, one in zip(part, run.predict(part, top=1, reject=coverage or False), strict=True):
            if one.error is not None:
                found.unreadable.append((path, one.error))
                continue
            place = UNSURE if one.rejected else folders[one.top[0][0]]
            try:
                _put(Path(path), target / place, link)
            except OSError as error:
                raise DataError(f"{target / place}: cannot be written ({error.strerror or error})") from error
            found.counts[place] += 1
        on_progress(min(start + CHUNK, len(pictures)), len(pictures))
    return found


def folder_name(name: str) -> str:
    """A class name as the name of a folder on any system; a class that is called `unsure` gets a mark."""
    text = "".join("_" if c in _FORBIDDEN or ord(c) < 32 else c for c in name).strip(". ") or "_"
    return f"{text}_" if text == UNSURE else text


def _put(path: Path, folder: Path, link: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    place, number = folder / path.name, 1
    while os.path.lexists(place):
        number += 1
        place = folder / f"{path.stem}-{number}{path.suffix}"
    if link:
        place.symlink_to(path.absolute())
    else:
        copy_whole(path, place)
