"""What a path may be: one table of formats, asked in order; the first that opens it says which pictures there are.

A format is a row of FORMATS. `opens` tells from what is there whether it is one, `open` reads it into a `Reading`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from vlprompt.data.archives import is_archive, open_source
from vlprompt.data.folder_layouts import Layout, empty_classes, ending, is_picture, read_layout
from vlprompt.data.hugging_face_datasets import is_saved, open_saved
from vlprompt.data.labels_in_names import BY_NAMES, labels_in_names
from vlprompt.data.left_out import Files, picture_files
from vlprompt.data.list_columns import Listing, read_columns
from vlprompt.data.list_files import SPLIT_FILE, Row, is_split_file, read_split_file
from vlprompt.data.list_matching import NameIndex, Pictures
from vlprompt.data.listed_pictures import ListFolder, present
from vlprompt.data.lists_inside import Lists, lists_in
from vlprompt.data.naming import composed
from vlprompt.data.parquet import is_parquet, open_parquet
from vlprompt.data.sources import LARGEST_FILE, Folder, Source
from vlprompt.data.tabular_text import Table, read_table
from vlprompt.errors import DataError
from vlprompt.files import read_file

ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
NEAR = 50_000  # files that are looked through for the pictures of a list that says no folder


@dataclass(frozen=True)
class Reading:
    """What a format found: the pictures, in words how they were read, and what was left out or guessed."""

    source: Source
    rows: list[Row]
    understood: str
    notices: list[str]


class Place:
    """What the user pointed at, looked at as far as formats ask."""

    def __init__(
        self, path: Path, labels: str | os.PathLike[str] | None = None, label_column: str | None = None
    ) -> None:
        self.path, self.labels, self.label_column = path, labels, label_column

    @cached_property
    def is_file(self) -> bool:
        """Whether it is one file that is no archive."""
        return self.path.is_file() and not is_archive(self.path)

    @cached_property
    def data(self) -> bytes:
        """The bytes of that file."""
        if is_picture(self.path.name):
            raise DataError(
                f"{self.path}: is one picture; give a folder of class folders, a list or an archive"
            )
        try:
            return read_file(self.path, LARGEST_FILE)
        except OSError as error:
            raise DataError(f"{self.path}: no list that can be read ({error.strerror or error})") from error

    @cached_property
    def source(self) -> Source:
        """The folder or archive."""
        return open_source(self.path)

    @cached_property
    def files(self) -> Files:
        """Its pictures, and what is left out."""
        return picture_files(self.source)

    @cached_property
    def composed_files(self) -> dict[str, str]:
        """Its files by their names in composed form."""
        return {composed(file): file for file in self.source.files}

    @cached_property
    def layout(self) -> Layout | DataError:
        """What its folders mean, or why they mean nothing."""
        if not self.files.pictures:
            other = f", only {len(self.source.files)} other files" if self.source.files else ""
            if packed := [file for file in self.source.files if ending(file) in ARCHIVES]:
                other = f", only archives such as {packed[0]}: unpack them, each into a folder of its name"
            told = f" that can be read: {self.files.unread}" if self.files.unread else other
            if any(file in self.source.files for file in ("xl/workbook.xml", "content.xml")):
                told = ": it is a workbook; save the sheet with the list as CSV (UTF-8)"
            return DataError(f"{self.path}: there are no pictures in it{told}")
        try:
            return read_layout(self.files.pictures)
        except DataError as error:
            return DataError(f"{self.path}: {error}")

    @cached_property
    def lists(self) -> Lists:
        """The lists in it, and which of them are used."""
        return lists_in(self.source, self.pictures_of, self.layout, self.label_column)

    def pictures_of(self, folder: str, name: str) -> Pictures:
        """What the cells of a list that lies in a folder of it may mean."""
        return Pictures(self.index, self.composed_files.get, folder, name)

    @cached_property
    def index(self) -> NameIndex:
        """Its pictures by name, for all lists in it."""
        return NameIndex(lambda: self.files.pictures)


# -- one file ------------------------------------------------------------------------------------------------


def _open_saved(place: Place) -> Reading:
    source, table = open_saved(place.path)
    return _of_table(source, table, place.label_column, "saved by datasets")


def _open_parquet(place: Place) -> Reading:
    source, table = open_parquet(place.path)
    return _of_table(source, table, place.label_column, "parquet")


def _is_parquet(place: Place) -> bool:
    if place.path.is_file():
        return is_parquet(place.path)
    files = place.source.files
    return (
        place.path.is_dir()
        and any(file.endswith(".parquet") for file in files)
        and not any(map(is_picture, files))
    )


def _of_table(source: Source, table: Table, label_column: str | None, kind: str) -> Reading:
    notices: list[str] = []
    listing = read_columns(
        table,
        Pictures(NameIndex(lambda: source.files), lambda path: path if path in source.files else None),
        label_column,
    )
    rows = present(listing.rows(), source, table.name, notices)
    label = listing.label if isinstance(listing.label, str) else ", ".join(listing.label or ())
    return Reading(source, rows, f"{kind}, labels by {label}", notices)


def read_huggingface(source: Source, table: Table, label_column: str | None) -> Reading:
    """The rows of an object of `datasets`."""
    return _of_table(source, table, label_column, "a Dataset")


def _open_given_split_file(place: Place) -> Reading:
    inside = Place(place.path.resolve().parent, place.path)
    return _open_named(inside)


def _open_given_list(place: Place) -> Reading:
    """A list that the user pointed at: its folder is searched only if its pictures do not lie where it says."""
    if place.labels is not None:
        raise DataError(f"{place.path}: is a list itself; labels= is for folders and archives")
    table = read_table(place.data, place.path.name)
    source = ListFolder(place.path.resolve().parent)
    listing = _with_pictures(table, source, place)
    notices: list[str] = []
    rows = present(listing.rows(), source, table.name, notices)
    return Reading(source, rows, f"{table.name}: {listing.understood}", notices)


def _with_pictures(table: Table, source: ListFolder, place: Place) -> Listing:
    """The list's columns by the pictures where it says, below its folder, or below the one above."""
    failed: DataError | None = None
    found = None
    for names in (tuple, lambda: _near(source, ""), lambda: _near(source, "../")):
        try:
            listing = read_columns(
                table, Pictures(NameIndex(names), source.there, "", place.path.name), place.label_column
            )
        except DataError as error:
            failed = failed or error
            continue
        if listing.matched.distinct:
            return listing
        found = found or listing
    if found is None:
        assert failed is not None
        raise failed
    return found


def _near(source: ListFolder, up: str) -> list[str]:
    """Pictures below the list's folder, or the one above it; none if there are too many files to look through."""
    try:
        folder = Folder(source.path / up, NEAR)
    except DataError:
        return []
    return [up + file for file in picture_files(folder).pictures]


# -- folders and archives ------------------------------------------------------------------------------------


def _open_named(place: Place) -> Reading:
    """The labels file or split file that the user named, inside or on disk."""
    assert place.labels is not None
    name = os.fspath(place.labels).replace("\\", "/")
    inside = place.composed_files.get(composed(name))
    try:
        data = (
            place.source.read(inside) if inside is not None else read_file(Path(place.labels), LARGEST_FILE)
        )
    except FileNotFoundError as error:
        raise DataError(f"{place.labels}: this labels file is neither in {place.path} nor on disk") from error
    except OSError as error:
        raise DataError(
            f"{place.labels}: this labels file cannot be read ({error.strerror or error})"
        ) from error
    name = inside or Path(place.labels).name
    if is_split_file(data):
        return _of_split_file(place, data, name)
    listing = read_columns(
        read_table(data, name),
        place.pictures_of(name.rpartition("/")[0] if inside else "", name),
        place.label_column,
    )
    return _of_listings(place, [(listing, listing.rows())], [])


def _open_names(place: Place) -> Reading:
    notices = list(place.files.notices)
    try:
        rows = labels_in_names(place.files.pictures)
    except DataError as error:
        raise DataError(f"{place.path}: {error}") from None
    if len(rows) < len(place.files.pictures):
        known = {row.path for row in rows}
        left = [path for path in place.files.pictures if path not in known]
        notices.append(f"{len(left)} pictures without a label in their names left out, for example {left[0]}")
    return Reading(place.source, rows, "labels from the names of the pictures, before their numbers", notices)


def _split_file(place: Place) -> str | None:
    if place.label_column is not None:
        return None
    found = sorted(
        (name for name in place.source.files if name.count("/") <= 1 and SPLIT_FILE.search(name)),
        key=lambda name: ("split_zhou" not in name, name.count("/"), name),
    )
    return next(iter(found), None)


def _open_split_file(place: Place) -> Reading:
    name = _split_file(place)
    assert name is not None
    found = _of_split_file(place, place.source.read(name), name)
    return replace(found, notices=[*found.notices, f"class names and split taken from {name}"])


def _of_split_file(place: Place, data: bytes, name: str) -> Reading:
    notices = list(place.files.notices)
    rows = present(
        read_split_file(data, name, place.source.files), place.source, name, notices, place.files.pictures
    )
    return Reading(place.source, rows, f"split file {name}", notices)


def _open_lists(place: Place) -> Reading:
    return _of_listings(place, place.lists.used, place.lists.notices, place.lists.beside)


def _of_listings(
    place: Place, used: Iterable[tuple[Listing, list[Row]]], more: list[str], beside: Sequence[Row] = ()
) -> Reading:
    notices = [*place.files.notices, *more]
    used = list(used)
    name = ", ".join(listing.table.name for listing, _ in used)
    rows = present(
        [*(row for _, rows in used for row in rows), *beside],
        place.source,
        name,
        notices,
        place.files.pictures,
    )
    how: dict[str, list[str]] = {}
    for listing, _ in used:
        how.setdefault(listing.understood, []).append(listing.table.name)
    understood = "; ".join(f"{', '.join(names)}: {text}" for text, names in how.items())
    if beside:
        kinds = sorted({row.split or "" for row in beside})
        understood += f"; {', '.join(kinds)}: a folder for each class"
    return Reading(place.source, rows, understood, notices)


def _open_folders(place: Place) -> Reading:
    layout = place.layout
    if isinstance(layout, DataError):
        doubts = "; ".join(place.lists.notices)
        raise DataError(f"{layout}; {doubts}") if doubts else layout
    notices = [*place.files.notices, *place.lists.notices, *layout.notices]
    folders = (f for f in place.source.folders if not any(own.startswith(f"{f}/") for own in place.files.own))
    if empty := empty_classes(layout, folders):
        notices.append(f"{len(empty)} folders without pictures left out: {', '.join(empty[:5])}")
    if place.lists.splits:
        return _divided(place, layout, notices)
    return Reading(place.source, layout.rows, layout.understood, notices)


def _divided(place: Place, layout: Layout, notices: list[str]) -> Reading:
    """Class folders whose splits stand in lists, such as train.txt and test.txt."""
    splits = place.lists.splits
    rest = None if "train" in splits.values() else "train"
    rows = [replace(row, split=splits.get(row.path, rest)) for row in layout.rows]
    kept = [row for row in rows if row.split is not None]
    if len(kept) < len(rows):
        notices.append(
            f"{len(rows) - len(kept)} pictures that {', '.join(place.lists.split_files)} do not list are left out"
        )
    return Reading(
        place.source, kept, f"{layout.understood}, divided by {', '.join(place.lists.split_files)}", notices
    )


@dataclass(frozen=True)
class Format:
    """name: what it is called. opens: whether the place is one. open: reads it; DataError for what is wrong in it."""

    name: str
    opens: Callable[[Place], bool]
    open: Callable[[Place], Reading]


FORMATS = (
    Format("saved by datasets", lambda place: is_saved(place.path), _open_saved),
    Format("parquet", _is_parquet, _open_parquet),
    Format("split file", lambda place: place.is_file and is_split_file(place.data), _open_given_split_file),
    Format("list", lambda place: place.is_file, _open_given_list),
    Format("names", lambda place: place.labels == BY_NAMES and not Path(BY_NAMES).exists(), _open_names),
    Format("labels file", lambda place: place.labels is not None, _open_named),
    Format("split file inside", lambda place: _split_file(place) is not None, _open_split_file),
    Format("lists inside", lambda place: bool(place.lists.used), _open_lists),
    Format("class folders", lambda place: True, _open_folders),
)


def read_place(place: Place) -> Reading:
    """The reading of the first format that opens the place."""
    return next(format for format in FORMATS if format.opens(place)).open(place)
