"""A data set with changes: pictures of elsewhere added, classes added, forgotten or renamed.

A change is a record of plain values, so that a run remembers what it was taught later and its data can be opened again:

    {"add": "teapot", "files": ["/photos/a.jpg", ...]}   {"forget": "cup"}   {"rename": "cup", "to": "mug"}
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlprompt.data.dataset import Dataset, Item, Readable
from vlprompt.data.opening import open_dataset
from vlprompt.data.sources import LARGEST_FILE
from vlprompt.errors import DataError, nearest
from vlprompt.files import check_regular, read_file

CHANGES = "changes"  # of a data set's origin
ADDED = "added"  # what stands before the paths of pictures of elsewhere


class WithFiles:
    """A source, and single files of elsewhere beside it. extra: path inside -> file."""

    def __init__(self, base: Readable, extra: dict[str, Path]) -> None:
        self.base, self.extra = base, extra
        self.files = {**base.files, **{name: path.stat().st_size for name, path in extra.items()}}

    def read(self, name: str) -> bytes:
        if name not in self.extra:
            return self.base.read(name)
        try:
            return read_file(self.extra[name], LARGEST_FILE)
        except OSError as error:
            raise DataError(f"{self.extra[name]}: cannot be read ({error.strerror or error})") from error

    def identity(self, name: str) -> tuple[str, int, int] | None:
        if name not in self.extra:
            return self.base.identity(name)
        found = self.extra[name].stat()
        return str(self.extra[name]), found.st_size, found.st_mtime_ns

    def stamp(self, name: str) -> str:
        return self.base.stamp(name) if name not in self.extra else str(self.files[name])

    def close(self) -> None:
        self.base.close()


def reopened(origin: dict[str, Any], path: str | Path | None = None, **more: Any) -> Dataset:
    """The data set that `Dataset.origin` tells of, changes included. path: where it now lies, if it has moved.

    DataError where it cannot be opened any more.
    """
    held = dict(origin)
    changes = held.pop(CHANGES, [])
    if path is not None:
        held["root" if "root" in held else "path"] = os.fspath(path)
    return changed(open_dataset(**(held | more)), changes)


def changed(dataset: Dataset, changes: Sequence[dict[str, Any]]) -> Dataset:
    """The data set after these changes, one after another; DataError for one that cannot be made.

    Pictures that were added to a class before are not added to it again: who does not know whether a command that was
    interrupted had come to its end gives it once more. A change that changes nothing is not remembered.
    """
    made = []
    for change in changes:
        before = dataset
        if "add" in change:
            dataset = _added(
                dataset, str(change["add"]), [Path(str(file)) for file in change.get("files", [])]
            )
        elif "forget" in change:
            dataset = _forgotten(dataset, str(change["forget"]))
        elif "rename" in change:
            dataset = _renamed(dataset, str(change["rename"]), str(change.get("to", "")))
        else:
            raise DataError(f"{dataset.name}: no change is {change!r}")
        if dataset is not before:
            made.append(change)
    if not made:
        return dataset
    earlier = list((dataset.origin or {}).get(CHANGES, []))
    return replace(dataset, origin={**(dataset.origin or {}), CHANGES: [*earlier, *made]})


def _place(dataset: Dataset, name: str) -> int:
    if name not in dataset.class_names:
        raise DataError(f'{dataset.name}: there is no class "{name}": {nearest(name, dataset.class_names)}')
    return dataset.class_names.index(name)


def _added(dataset: Dataset, name: str, files: Sequence[Path]) -> Dataset:
    if not name.strip():
        raise DataError("a class needs a name")
    if not files:
        raise DataError(f'class "{name}": no pictures are given')
    for file in files:
        try:
            check_regular(file, LARGEST_FILE)
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    names, keys = dataset.class_names, dataset.class_keys
    if name not in names:
        names, keys = (*names, name), (*keys, name)
    label = names.index(name)
    there = _added_to(dataset, label)
    files = [file for file in dict.fromkeys(file.absolute() for file in files) if file not in there]
    if not files:
        return dataset
    taken = {item.path for item in dataset.all_items if item.path.startswith(f"{ADDED}/")}
    start = len(taken)
    while any(f"{ADDED}/{start + i}/{file.name}" in taken for i, file in enumerate(files)):
        start += 1  # numbers have become free where a class was forgotten
    extra = {f"{ADDED}/{start + i}/{file.name}": file for i, file in enumerate(files)}
    splits = dict(dataset.splits)
    splits["train"] = [*splits.get("train", []), *(Item(path, label) for path in extra)]
    return replace(
        dataset, class_names=names, class_keys=keys, splits=splits, source=WithFiles(dataset.source, extra)
    )


def _added_to(dataset: Dataset, label: int) -> set[Path]:
    """Pictures of elsewhere that a class holds already."""
    held: dict[str, Path] = {}
    source: Readable = dataset.source
    while isinstance(source, WithFiles):
        held |= source.extra
        source = source.base
    return {held[item.path] for item in dataset.all_items if item.label == label and item.path in held}


def _forgotten(dataset: Dataset, name: str) -> Dataset:
    gone = _place(dataset, name)
    if len(dataset.class_names) < 3:
        raise DataError(f"{dataset.name}: at least two classes are needed, and there would be one")
    splits = {
        split: [replace(item, label=item.label - (item.label > gone)) for item in items if item.label != gone]
        for split, items in dataset.splits.items()
    }
    names = tuple(one for i, one in enumerate(dataset.class_names) if i != gone)
    keys = tuple(one for i, one in enumerate(dataset.class_keys) if i != gone)
    return replace(dataset, class_names=names, class_keys=keys, splits={k: v for k, v in splits.items() if v})


def _renamed(dataset: Dataset, name: str, to: str) -> Dataset:
    place = _place(dataset, name)
    if not to.strip() or to in dataset.class_names:
        raise DataError(
            f'"{name}" cannot be renamed to "{to}": '
            + (
                "a class needs a name"
                if not to.strip()
                else "there is one of that name, whose pictures can be added to"
            )
        )
    names = list(dataset.class_names)
    names[place] = to
    return replace(dataset, class_names=tuple(names))
