"""sort: pictures copied or linked into a folder for each class, those that a run is not sure of apart.

OUT/red cat/IMG_1.jpg   OUT/unsure/IMG_2.jpg      nothing is moved, nothing that is there is replaced
"""

from __future__ import annotations

import errno
import filecmp
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vlprompt.errors import DataError, RunError
from vlprompt.files import MB, PART, copy_whole, read_file, remove_dead_parts, write_atomically
from vlprompt.locks import LOCK, alone_in
from vlprompt.runs.run import Run

UNSURE = "unsure"
MARK = ".unfinished-sort.json"  # in the folder until all is in it: what is sorted into it, and how
CHUNK = 256
_FORBIDDEN = '<>:"/\\|?*'
_RESERVED = {"con", "prn", "aux", "nul"} | {
    f"{kind}{i}" for kind in ("com", "lpt") for i in range(1, 10)
}  # on Windows
LONGEST = 255  # bytes of a name


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
    Where the same was interrupted, it goes on: what lies in its place already stays.
    """
    target = Path(out)
    tensors = run.info.tensors.sha256 if run.info.tensors is not None else None
    mark = json.dumps({"run": tensors, "coverage": coverage, "link": link}).encode()
    _check_place(target, mark)
    try:
        with alone_in(target), _unfinished(target, mark):
            return _sort(run, pictures, target, coverage, link, on_progress)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error.strerror or error})") from error


def _check_place(target: Path, mark: bytes) -> None:
    if not target.exists() or (target.is_dir() and not any(map(_is_content, os.listdir(target)))):
        return
    try:
        held = read_file(target / MARK, MB) if target.is_dir() else None
    except OSError:
        held = None
    if held == mark:
        return
    if held is not None:
        raise RunError(
            f"{target}: another sort into it was interrupted (of another run, or with another --coverage or --link): "
            "give that one again, or choose another folder (--out)"
        )
    raise RunError(f"{target}: exists already and is not empty: choose another folder (--out)")


def _is_content(name: str) -> bool:
    """Of what lies in the folder: no lock, and no mark that a killed sort was about to make."""
    return name != LOCK and not (name.startswith(f".{MARK}.") and name.endswith(PART))


@contextmanager
def _unfinished(target: Path, mark: bytes) -> Iterator[None]:
    """The folder is marked until the block is done, and also if it fails once something is in it."""
    target.mkdir(parents=True, exist_ok=True)  # else it is said that it is not there, not why
    write_atomically(target / MARK, mark)
    for folder in target.iterdir():
        if folder.is_dir() and not folder.is_symlink():
            remove_dead_parts(folder)
    try:
        yield
    except BaseException:
        if set(os.listdir(target)) <= {MARK, LOCK}:
            (target / MARK).unlink(missing_ok=True)
        raise
    (target / MARK).unlink(missing_ok=True)


def _sort(
    run: Run,
    pictures: Sequence[str],
    target: Path,
    coverage: float | None,
    link: bool,
    on_progress: Callable[[int, int], None],
) -> Sorted:
    folders = folder_names(run.class_names)
    found = Sorted()
    taken: set[Path] = set()
    for start in range(0, len(pictures), CHUNK):
        part = pictures[start : start + CHUNK]
        for path, one in zip(part, run.predict(part, top=1, reject=coverage or False), strict=True):
            if one.error is not None:
                found.unreadable.append((path, one.error))
                continue
            place = UNSURE if one.rejected else folders[one.top[0][0]]
            try:
                _put(Path(path), target / place, link, taken)
            except OSError as error:
                raise DataError(f"{target / place}: cannot be written ({error.strerror or error})") from error
            found.counts[place] += 1
        on_progress(min(start + CHUNK, len(pictures)), len(pictures))
    return found


def folder_names(names: Sequence[str]) -> dict[str, str]:
    """A folder for each class, also where capitals and small letters are the same."""
    found: dict[str, str] = {}
    taken = {UNSURE}
    for name in names:
        text, number = folder_name(name), 1
        place = text
        while place.casefold() in taken:
            number += 1
            place = f"{_cut(text, LONGEST - 1 - len(str(number)))}-{number}"
        taken.add(place.casefold())
        found[name] = place
    return found


def folder_name(name: str) -> str:
    """A class name as the name of a folder on any system; a class that is called `unsure` gets a mark."""
    text = "".join("_" if c in _FORBIDDEN or ord(c) < 32 else c for c in name)
    text = _cut(text.strip(". "), LONGEST - 1).strip(". ") or "_"
    stem, dot, rest = text.partition(".")
    return f"{stem}_{dot}{rest}" if stem.strip().casefold() in {UNSURE, *_RESERVED} else text


def _cut(text: str, most: int) -> str:
    """As much of a text as fits into so many bytes."""
    while len(os.fsencode(text)) > most:
        text = text[:-1]
    return text


def _put(path: Path, folder: Path, link: bool, taken: set[Path]) -> None:
    """taken: places of this sort, so that what an interrupted one put there is told from other pictures of the name."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():  # in an unfinished sort of somebody else it may lead anywhere
        raise NotADirectoryError(errno.ENOTDIR, "is a link", str(folder))
    place, number = folder / path.name, 1
    while os.path.lexists(place):
        if place not in taken and _is_there(path, place, link):
            taken.add(place)
            return
        number += 1
        suffix = path.suffix if len(path.suffix) < 20 else ""
        end = f"-{number}{suffix}"
        place = folder / f"{_cut(path.name.removesuffix(suffix), LONGEST - len(os.fsencode(end)))}{end}"
    if link:
        place.symlink_to(path.absolute())
    else:
        copy_whole(path, place)
    taken.add(place)


def _is_there(path: Path, place: Path, link: bool) -> bool:
    if link or place.is_symlink():
        return link and place.is_symlink() and os.readlink(place) == str(path.absolute())
    return place.is_file() and filecmp.cmp(path, place, shallow=False)
