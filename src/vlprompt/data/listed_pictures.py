"""The rows of a list whose pictures are there, each once; what is missing or contradicts itself is said."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from vlprompt.data.list_files import Row
from vlprompt.data.sources import Folder, Source
from vlprompt.data.split_names import split_of_word
from vlprompt.errors import DataError


class ListFolder(Folder):
    """The folder of a list: files are looked up one by one, since the list names them."""

    def __init__(self, path: Path) -> None:
        Source.__init__(self, path)

    def there(self, name: str) -> str | None:
        """The name itself if there is such a file."""
        if name in self.files:
            return name
        try:
            found = (self.path / name).stat()
        except (OSError, ValueError):
            return None
        if stat.S_ISREG(found.st_mode):
            self.files[name] = found.st_size
        return name if name in self.files else None


def present(
    rows: Iterable[Row],
    source: Source,
    name: str,
    notices: list[str],
    pictures: Collection[str] | None = None,
) -> list[Row]:
    """The labelled rows whose pictures are there, each once; splits are read off the paths if not given.

    pictures: all that there are, to count those that are not listed. DataError for a picture with two labels, and where
    no row is left.
    """
    kept: dict[str, Row] = {}
    missing: list[str] = []
    unlabelled: list[str] = []
    repeated = 0
    for row in rows:
        if not row.label:
            unlabelled.append(row.path)
        elif not row.path or not _there(source, row.path):
            missing.append(row.path)
        elif row.path not in kept:
            kept[row.path] = row
        elif kept[row.path].label != row.label:
            both = f'"{kept[row.path].label}" and "{row.label}"'
            raise DataError(f"{name}: {row.path} is both {both}; give it one label")
        elif row.split is not None and kept[row.path].split not in (None, row.split):
            both = f"{kept[row.path].split} and {row.split}"
            raise DataError(f"{name}: {row.path} is in both {both}; give it one split")
        else:
            repeated += 1
    if not kept:
        example = f"none of its pictures is there, for example {missing[0]}" if missing else ""
        raise DataError(
            f"{name}: {example}; give their folder, and this list with --labels"
            if isinstance(source, ListFolder) and example
            else f"{name}: {example or 'it lists no labelled pictures'}"
        )
    if unlabelled:
        notices.append(
            f"{len(unlabelled)} pictures without a label left out ({name}), for example {unlabelled[0]}"
        )
    if missing:
        notices.append(f"{len(missing)} pictures of {name} are missing, for example {missing[0]}")
    if repeated:
        notices.append(f"{repeated} repeated lines of {name} left out")
    unlisted = [file for file in pictures or () if file not in kept]
    if unlisted:
        notices.append(
            f"{len(unlisted)} pictures that {name} does not list are left out, for example {unlisted[0]}"
        )
    blank = sum(row.split is None for row in kept.values())
    if blank == len(kept):
        return _with_splits_of_paths(list(kept.values()))
    if blank:
        notices.append(f"{blank} pictures without a split are taken for training")
    return list(kept.values())


def _there(source: Source, path: str) -> bool:
    return path in source.files or (isinstance(source, ListFolder) and source.there(path) is not None)


def _with_splits_of_paths(rows: list[Row]) -> list[Row]:
    """train, val, test by one level of folders, where all pictures lie below such folders."""
    folders = [row.path.split("/")[:-1] for row in rows]
    for level in range(min(map(len, folders))):
        names = [split_of_word(parts[level]) for parts in folders]
        if all(names):
            return [replace(row, split=name) for row, name in zip(rows, names, strict=True)]
    return rows
