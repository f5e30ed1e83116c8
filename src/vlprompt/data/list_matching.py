"""Which picture a cell of a list means: a path, a name in some folder, or an id without ending."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from vlprompt.data.naming import composed
from vlprompt.data.split_names import split_name
from vlprompt.errors import DataError


@dataclass(frozen=True)
class Matched:
    """files: the picture of each cell, None where there is none. how: what had to be done beside looking the cells up as
    paths, in words. exact: whether nothing had to be done. unclear: (cell, picture, other picture) where two fit alike."""

    files: list[str | None]
    how: str = ""
    exact: bool = True
    unclear: tuple[str, str, str] | None = None

    @property
    def distinct(self) -> int:
        """Different pictures that are meant."""
        return len({file for file in self.files if file is not None})


def slashed(cell: str) -> str:
    """A path as written on any system, or in an address, as it is inside a data set."""
    path = composed(cell.strip()).replace("\\", "/")
    if "://" in path:
        path = path.partition("?")[0].partition("#")[0]
    while path.startswith("./"):
        path = path[2:]
    return path


@dataclass
class Pictures:
    """The pictures that the cells of one list may mean.

    index: all pictures, looked at when a cell is no path of one. there: the file that a path means, or None. folder: of the
    list, inside the data set, "" or without a final `/`. list_name: the list's own name, which may say its split.
    """

    index: NameIndex
    there: Callable[[str], str | None]
    folder: str = ""
    list_name: str = ""
    _exact: dict[str, str | None] = field(default_factory=dict, repr=False)

    def exact(self, cell: str) -> str | None:
        """The picture that the cell names as a path: from the list's folder, else from the top."""
        if cell not in self._exact:
            path = slashed(cell)
            beside = f"{self.folder}/{path}" if self.folder else path
            self._exact[cell] = (
                path and (self.there(beside) or (self.there(path) if self.folder else None))
            ) or None
        return self._exact[cell]

    def match(self, cells: Sequence[str]) -> Matched:
        """The pictures of a column: as paths if that finds any, else by name in whatever folder, then without their
        endings, then by number (7 for 0007.jpg)."""
        exact = [self.exact(cell) for cell in cells]
        if any(exact):
            return Matched(exact)
        paths = [slashed(cell) for cell in cells]
        best = Matched([None] * len(cells))
        for table, key, how in (
            (self._by_name, str.casefold, ""),
            (self._by_stem, str.casefold, "without endings"),
            (self._by_stem, _stem, "other endings"),
            (self._by_number, _whole, "by number"),
        ):
            found = self._by(paths, table, key, how)
            if found.distinct > best.distinct:
                best = found
        return best

    def _by(
        self, paths: list[str], table: Callable[[], dict[str, list[str]]], key: Callable[[str], str], how: str
    ) -> Matched:
        """Cells by the last parts of their paths; folders that all cells begin with may be those of another machine."""
        parts = [
            [key(part) if at == 0 else part.casefold() for at, part in enumerate(reversed(path.split("/")))]
            for path in paths
        ]
        shared = _shared(path.split("/")[:-1] for path in paths if path)
        known = table()
        if not any(last[0] in known for last in parts if last[0]):
            return Matched([None] * len(paths))
        for dropped in range(shared + 1):
            options = [self._ending(own[: len(own) - dropped], known) if own[0] else [] for own in parts]
            if any(options):
                return self._chosen(paths, options, how)
        return Matched([None] * len(paths))

    def _ending(self, reversed_parts: list[str], known: dict[str, list[str]]) -> list[tuple[str, str]]:
        """(folder before what the cell says, picture) of all pictures whose paths end as the cell does."""
        found = []
        for file in known.get(reversed_parts[0], ()):
            folders = composed(file).casefold().split("/")[:-1]
            wanted = reversed_parts[:0:-1]
            if not wanted or folders[-len(wanted) :] == wanted:
                found.append(("/".join(folders[: len(folders) - len(wanted)]), file))
        return found

    def _chosen(self, paths: list[str], options: list[list[tuple[str, str]]], how: str) -> Matched:
        """One picture of each: in a folder of the list's split, then near the list, then where most of the others are."""
        counts = Counter((folder, _ending(file)) for found in options for folder, file in found)
        own = split_name(self.list_name)

        def rank(option: tuple[str, str]) -> tuple[bool, bool, int]:
            folder, file = option
            parts = [split_name(part) for part in file.split("/")[:-1]]
            told = own is not None and any(part is not None and part.split == own.split for part in parts)
            return (
                told,
                bool(self.folder) and file.startswith(f"{self.folder}/"),
                counts[folder, _ending(file)],
            )

        files: list[str | None] = []
        unclear = None
        for path, found in zip(paths, options, strict=True):
            ranked = sorted(found, key=rank, reverse=True) if len(found) > 1 else found
            files.append(ranked[0][1] if ranked else None)
            if len(ranked) > 1 and rank(ranked[0]) == rank(ranked[1]) and unclear is None:
                unclear = path, ranked[0][1], ranked[1][1]
        folders = sorted({file.rpartition("/")[0] for file in files if file is not None})
        said = (
            f"in {folders[0] or 'the top folder'}{'/' if folders[0] else ''}"
            if len(folders) == 1
            else f"in {len(folders)} folders"
        )
        return Matched(files, f"found {said}" + (f", {how}" if how else ""), exact=False, unclear=unclear)

    # -- looked up only when a cell is no path ---------------------------------------------------------------

    def _by_name(self) -> dict[str, list[str]]:
        return self.index.tables[0]

    def _by_stem(self) -> dict[str, list[str]]:
        return self.index.tables[1]

    def _by_number(self) -> dict[str, list[str]]:
        return self.index.tables[2]


class NameIndex:
    """Pictures by name, by name without ending and by number; made when the first cell is no path."""

    def __init__(self, names: Callable[[], Collection[str]]) -> None:
        self.names = names

    @cached_property
    def tables(self) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, list[str]]]:
        """By casefolded name, by stem, and by number."""
        by_name, by_stem, by_number = (defaultdict[str, list[str]](list) for _ in range(3))
        for file in self.names():
            name = composed(file).casefold().rpartition("/")[2]
            by_name[name].append(file)
            by_stem[_stem(name)].append(file)
            if number := _number(_stem(name)):
                by_number[number].append(file)
        return dict(by_name), dict(by_stem), dict(by_number)


def refuse_unclear(matched: Matched, name: str) -> None:
    """DataError where a cell may mean two pictures."""
    if matched.unclear is not None:
        cell, one, other = matched.unclear
        raise DataError(f'{name}: "{cell}" may be {one} or {other}; write the folder too')


def _shared(folders: Iterable[list[str]]) -> int:
    """How many first folders all have in common."""
    first: list[str] | None = None
    for own in folders:
        if first is None:
            first = own
        same = 0
        while same < min(len(first), len(own)) and first[same] == own[same]:
            same += 1
        first = first[:same]
    return len(first or ())


def _ending(file: str) -> str:
    return file.rpartition("/")[2].partition(".")[2].lower()


def _stem(name: str) -> str:
    stem, dot, end = name.casefold().rpartition(".")
    return stem if dot and stem and len(end) <= 5 else name.casefold()


def _whole(text: str) -> str:
    return _number(text) if text.isascii() and text.isdigit() else ""


def _number(text: str) -> str:
    """The number that a name is, or ends with: 7 for 7, 0007 and image_0007; "" for others."""
    found = re.fullmatch(r"\D*?0*(\d{1,18})", text, re.ASCII)
    return found[1] if found else ""
