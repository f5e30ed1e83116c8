"""Finding out which pictures a data set holds: from a list, a split file, labels files or the folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vlprompt.data.folder_layouts import empty_classes, is_picture, read_layout
from vlprompt.data.list_files import (
    SPLIT_FILE,
    SPLITS,
    Row,
    Table,
    is_split_file,
    read_split_file,
    read_table,
)
from vlprompt.data.sources import Folder, Source
from vlprompt.errors import DataError

LABEL_FILES = ("labels.csv", "labels.jsonl", "metadata.csv", "metadata.jsonl")


class ListFolder(Folder):
    """The folder of a list: files are looked up one by one, since the list names them."""

    def __init__(self, path: Path) -> None:
        Source.__init__(self, path)

    def find(self, name: str) -> bool:
        try:
            found = (self.path / name).stat()
        except (OSError, ValueError):
            return False
        if stat.S_ISREG(found.st_mode):
            self.files[name] = found.st_size
        return name in self.files


def find_rows(
    source: Source,
    table: Table | None,
    labels: str | os.PathLike[str] | None,
    label_column: str | None,
    place: Path,
    notices: list[str],
) -> list[Row]:
    """Path, label, split and domain of each picture that is there, from the first of: the list that the user
    pointed at, the labels file that the user named, a split file, a labels file with an obvious label column,
    the folders."""
    if table is not None:
        if labels is not None:
            raise DataError(f"{place}: is a list itself; labels= is for folders and archives")
        return _present(_inside(table.labelled(label_column), source, ""), source, table.name, notices)
    if labels is not None:
        rows = _named(source, labels, label_column, place)
        return _present(rows, source, str(labels), notices)
    split_files, label_files = _found(source)
    if split_files and label_column is None:
        chosen = next((name for name in split_files if "split_zhou" in name), split_files[0])
        notices.append(f"class names and split taken from {chosen}")
        rows = read_split_file(source.read(chosen), chosen, source.files)
        return _present(rows, source, chosen, notices)
    if label_files:
        tables = {name: read_table(source.read(name), name) for name in label_files}
        first = tables[label_files[0]]
        if label_column is not None or first.chosen_label() is not None:
            listed = (
                _inside(table.labelled(label_column), source, name.rpartition("/")[0])
                for name, table in tables.items()
            )
            return _present([row for rows in listed for row in rows], source, ", ".join(tables), notices)
        found = f"{first.name} has several columns of labels ({', '.join(first.label_columns)})"
        notices.append(f"{found}; the folders are used, label_column chooses")
    elif label_column is not None:
        raise DataError(
            f"{place}: label_column is given, but there is no labels file ({LABEL_FILES[0]}) in it"
        )
    return _folders(source, place, notices)


def _found(source: Source) -> tuple[list[str], list[str]]:
    """Split files and labels files, at most one folder deep; one labels file, or one of each folder."""
    shallow = [name for name in source.files if name.count("/") <= 1]
    shallow.sort(key=lambda name: (name.count("/"), name))
    split_files = [name for name in shallow if SPLIT_FILE.search(name)]
    label_files = [name for name in shallow if name.rpartition("/")[2] in LABEL_FILES]
    if label_files and "/" not in label_files[0]:
        label_files = label_files[:1]
    of_folder = {name.rpartition("/")[0]: name for name in reversed(label_files)}
    return split_files, sorted(of_folder.values())


def _named(
    source: Source, labels: str | os.PathLike[str], label_column: str | None, place: Path
) -> list[Row]:
    inside = os.fspath(labels).replace("\\", "/")
    if inside in source.files:
        return _read(source.read(inside), inside, label_column, source)
    try:
        return _read(Path(labels).read_bytes(), Path(labels).name, label_column, source)
    except OSError as error:
        raise DataError(f"{labels}: this labels file is neither in {place} nor on disk") from error


def _read(data: bytes, name: str, label_column: str | None, source: Source) -> list[Row]:
    """Rows of a split file or a list, with paths inside the source where the pictures are there."""
    if is_split_file(data):
        return read_split_file(data, name, source.files)
    rows = read_table(data, name).labelled(label_column)
    return list(_inside(rows, source, name.rpartition("/")[0]))


def _inside(rows: list[Row], source: Source, folder: str) -> Iterator[Row]:
    """The rows with paths inside the source: relative to the list's folder, else to the top."""
    for row in rows:
        path = row.path.replace("\\", "/").removeprefix("./")
        beside = f"{folder}/{path}" if folder else path
        yield replace(row, path=beside if folder and _there(source, beside) else path)


def _folders(source: Source, place: Path, notices: list[str]) -> list[Row]:
    pictures = [name for name in source.files if is_picture(name)]
    if not pictures:
        other = f", only {len(source.files)} other files" if source.files else ""
        raise DataError(f"{place}: there are no pictures in it{other}")
    try:
        layout = read_layout(pictures)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    notices += layout.notices
    if empty := empty_classes(layout, source.folders):
        notices.append(f"{len(empty)} folders without pictures left out: {', '.join(empty[:5])}")
    return layout.rows


def _present(rows: Iterator[Row] | list[Row], source: Source, name: str, notices: list[str]) -> list[Row]:
    """The labelled rows whose pictures are there, each once; splits are read off the paths if not given."""
    kept: dict[str, Row] = {}
    missing: list[str] = []
    unlabelled = repeated = 0
    for row in rows:
        if not row.label:
            unlabelled += 1
        elif not row.path or not _there(source, row.path):
            missing.append(row.path)
        elif row.path not in kept:
            kept[row.path] = row
        elif kept[row.path].label != row.label:
            both = f'"{kept[row.path].label}" and "{row.label}"'
            raise DataError(f"{name}: {row.path} is both {both}; give it one label")
        else:
            repeated += 1
    if not kept:
        example = f"none of its pictures is there, for example {missing[0]}" if missing else ""
        raise DataError(f"{name}: {example or 'it lists no labelled pictures'}")
    if unlabelled:
        notices.append(f"{unlabelled} pictures without a label left out ({name})")
    if missing:
        notices.append(f"{len(missing)} pictures of {name} are missing, for example {missing[0]}")
    if repeated:
        notices.append(f"{repeated} repeated lines of {name} left out")
    if not isinstance(source, ListFolder):
        unlisted = sum(is_picture(file) and file not in kept for file in source.files)
        if unlisted:
            notices.append(f"{unlisted} pictures that {name} does not list are left out")
    blank = sum(row.split is None for row in kept.values())
    if blank == len(kept):
        return _with_splits_of_paths(list(kept.values()))
    if blank:
        notices.append(f"{blank} pictures without a split are taken for training")
    return list(kept.values())


def _there(source: Source, path: str) -> bool:
    return source.find(path) if isinstance(source, ListFolder) else path in source.files


def _with_splits_of_paths(rows: list[Row]) -> list[Row]:
    """train, val, test by one level of folders, where all pictures lie below such folders."""
    folders = [row.path.split("/")[:-1] for row in rows]
    for level in range(min(map(len, folders))):
        names = [SPLITS.get(parts[level].lower()) for parts in folders]
        if all(names):
            return [replace(row, split=name) for row, name in zip(rows, names, strict=True)]
    return rows
