"""What there is of a data set of the catalog, what is missing and where that comes from."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vlprompt.data.archives import open_source
from vlprompt.data.catalog import Entry, Part, find
from vlprompt.data.catalog_reading import Place, Said, imagenet_rows, locate, open_catalog
from vlprompt.errors import DataError


@dataclass(frozen=True)
class Report:
    """place: where it was found, or None. present: parts that are there. missing: needed parts that are not,
    and absent: others that would help. found: counts by "classes", "train", "val" and "test", {} if they cannot
    be told; expected: those of the papers' split. notes: what a user should know. problem: why it cannot be opened, or None.
    """

    entry: Entry
    place: Path | None
    present: tuple[str, ...]
    missing: tuple[Part, ...]
    absent: tuple[Part, ...]
    found: dict[str, int]
    expected: dict[str, int]
    notes: tuple[str, ...]
    problem: str | None

    @property
    def usable(self) -> bool:
        """Whether it can be opened."""
        return self.problem is None

    @property
    def complete(self) -> bool:
        """Whether it is what the papers used, as far as counting shows."""
        own_split = self.entry.split is None or self.entry.split not in self.absent
        return self.usable and own_split and not self.missing and self.found == self.expected

    def lines(self) -> list[str]:
        """The report in words."""
        lines = [f"{self.entry.title}: {self.place or 'not found'}"]
        lines += [f"there: {path}" for path in self.present]
        for part in self.missing:
            lines.append(f"missing: {part.path}, from {part.source}")
        for part in self.absent:
            lines.append(f"not there, but not needed to read it: {part.path}, from {part.source}")
        for key, count in self.expected.items():
            if self.found:
                same = "as expected" if self.found[key] == count else f"expected {count}"
                lines.append(f"{key}: {self.found[key]}, {same}")
        lines += [f"note: {note}" for note in self.notes]
        if self.problem:
            lines.append(f"cannot be opened: {self.problem}")
        return lines


def check(name: str, root: str | os.PathLike[str]) -> Report:
    """A report on one data set below `root`. DataError only for a name that is not in the catalog."""
    entry = find(name)
    expected = {
        key: count
        for key in ("classes", "train", "val", "test")
        if (count := getattr(entry, key)) is not None
    }
    try:
        place = locate(entry, Path(root).expanduser())
    except DataError as error:  # a damaged archive
        return Report(entry, None, (), entry.all_parts, (), {}, expected, (), str(error))
    if place is None:
        return Report(
            entry,
            None,
            (),
            needed(entry, True),
            needed(entry, False),
            {},
            expected,
            (),
            f"there is none below {root}",
        )
    found: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    problem = None
    try:
        with open_catalog(name, root) as dataset:
            counts = {key: len(items) for key, items in dataset.splits.items()}
            found = dict.fromkeys(expected, 0) | {"classes": len(dataset.class_names)} | counts
            notes = dataset.notices
    except DataError as error:
        problem = str(error)
        found = counted(entry, place) if entry.reader == "imagenet" else {}
    there = {part: there_is(part, place) for part in entry.all_parts}
    return Report(
        entry,
        place.path,
        tuple(path for path in there.values() if path is not None),
        tuple(part for part, path in there.items() if path is None and part.needed),
        tuple(part for part, path in there.items() if path is None and not part.needed),
        found,
        expected,
        notes,
        problem,
    )


def needed(entry: Entry, wanted: bool) -> tuple[Part, ...]:
    return tuple(part for part in entry.all_parts if part.needed == wanted)


def counted(entry: Entry, place: Place) -> dict[str, int]:
    """What there is of ImageNet where it cannot be opened, such as training pictures alone; {} if that is not told."""
    try:
        rows = imagenet_rows(entry, open_source(place.path), place, Said())
    except DataError:
        return {}
    return (
        dict.fromkeys(entry.counts, 0)
        | {"classes": len({row.label for row in rows})}
        | Counter(row.split or "" for row in rows)
    )


def there_is(part: Part, place: Place) -> str | None:
    """The part's path where it is there, in a folder or an archive; folders are those that hold some file."""
    if place.path.is_dir():
        return next((path for path in part.paths if holds_files(place.path / path)), None)
    files = open_source(place.path).files
    for path in part.paths:
        name = place.inside + path
        if name in files or (path.endswith("/") and any(file.startswith(name) for file in files)):
            return path
    return None


def holds_files(path: Path) -> bool:
    """Whether it is a file, or a folder with one in it at any depth."""
    return path.is_file() or any(inside.is_file() for inside in path.rglob("*"))
