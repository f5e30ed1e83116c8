"""Finding out which pictures a data set holds: from a list, a split file, a labels file or the folders."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from vlprompt.data.layouts import empty_classes, is_picture, read_layout
from vlprompt.data.sources import Folder, Source
from vlprompt.data.tables import SPLIT_FILE, Row, Table, read_split_file, read_table
from vlprompt.errors import DataError

LABEL_FILES = ("labels.csv", "labels.jsonl", "metadata.csv", "metadata.jsonl")


class ListFolder(Folder):
    """The folder of a list: files are looked up one by one, since the list names them."""

    def __init__(self, path: Path) -> None:
        Source.__init__(self, path)

    def find(self, name: str) -> bool:
        try:
            self.files[name] = (self.path / name).stat().st_size
        except (OSError, ValueError):
            return False
        return True


def find_rows(
    source: Source,
    table: Table | None,
    labels: str | os.PathLike[str] | None,
    label_column: str | None,
    place: Path,
    notices: list[str],
) -> list[Row]:
    """Path, label, split and domain of each picture that is there, from whatever states them."""
    prefix = ""
    if table is not None:
        if labels is not None:
            raise DataError(f"{place}: is a list itself; labels= is for folders and archives")
        return _present(table.labelled(label_column), source, "", table.name, notices)
    if labels is not None:
        inside = str(labels).replace("\\", "/")
        if inside in source.files:
            table, prefix = read_table(source.read(inside), inside), inside.rpartition("/")[0]
        elif Path(labels).is_file():
            table = read_table(Path(labels).read_bytes(), str(labels))
        else:
            raise DataError(f"{labels}: this labels file is neither in {place} nor on disk")
        return _present(table.labelled(label_column), source, prefix, table.name, notices)

    shallow = sorted(
        (name for name in source.files if name.count("/") <= 1), key=lambda name: (name.count("/"), name)
    )
    split_files = [name for name in shallow if SPLIT_FILE.search(name)]
    label_files = [name for name in shallow if name.rpartition("/")[2] in LABEL_FILES]
    if split_files and label_column is None:
        chosen = next((name for name in split_files if "split_zhou" in name), split_files[0])
        notices.append(f"class names and split taken from {chosen}")
        rows = read_split_file(source.read(chosen), chosen, source.files)
        return _present(rows, source, "", chosen, notices)
    if label_files:
        prefix = label_files[0].rpartition("/")[0]
        table = read_table(source.read(label_files[0]), label_files[0])
        if label_column is not None or table.chosen_label() is not None:
            return _present(table.labelled(label_column), source, prefix, table.name, notices)
        found = f"{label_files[0]} has several columns of labels ({', '.join(table.label_columns)})"
        notices.append(f"{found}; the folders are used, label_column chooses")
    elif label_column is not None:
        raise DataError(
            f"{place}: label_column is given, but there is no labels file ({LABEL_FILES[0]}) in it"
        )
    pictures = [name for name in source.files if is_picture(name)]
    other = len(source.files) - len(pictures)
    if not pictures:
        kinds = "" if not other else f", only {other} other files"
        raise DataError(f"{place}: there are no pictures in it{kinds}")
    if unread := source.skipped["unreadable folder"]:
        notices.append(f"{unread} folders could not be read")
    layout = read_layout(pictures)
    notices += layout.notices
    if empty := empty_classes(layout, source.folders):
        notices.append(f"{len(empty)} folders without pictures left out: {', '.join(empty[:5])}")
    return layout.rows


def _present(rows: list[Row], source: Source, prefix: str, name: str, notices: list[str]) -> list[Row]:
    """The rows whose pictures are there, with paths inside the source and splits, if paths show them."""
    kept, missing, unlabelled = [], [], 0
    for row in rows:
        path = row.path.replace("\\", "/").removeprefix("./")
        path = next((p for p in (f"{prefix}/{path}" if prefix else path, path) if _there(source, p)), "")
        if not row.label:
            unlabelled += 1
        elif not path:
            missing.append(row.path)
        else:
            kept.append(replace(row, path=path))
    if unlabelled:
        notices.append(f"{unlabelled} pictures without a label left out ({name})")
    if missing and kept:
        notices.append(f"{len(missing)} pictures of {name} are missing, for example {missing[0]}")
    if not kept:
        what = (
            f"none of its pictures is there, for example {missing[0]}"
            if missing
            else "it lists no labelled pictures"
        )
        raise DataError(f"{name}: {what}")
    twice = Counter(row.path for row in kept)
    if len(twice) < len(kept):
        seen: dict[str, Row] = {}
        for row in kept:
            other = seen.setdefault(row.path, row)
            if other.label != row.label:
                raise DataError(
                    f'{name}: {row.path} is both "{other.label}" and "{row.label}"; give it one label'
                )
        notices.append(f"{len(kept) - len(twice)} repeated lines of {name} left out")
        kept = list(seen.values())
    if not isinstance(source, ListFolder):
        listed = set(twice)
        if more := sum(is_picture(file) and file not in listed for file in source.files):
            notices.append(f"{more} pictures that {name} does not list are left out")
    if all(row.split is None for row in kept):
        parts = _splits_of_paths([row.path for row in kept])
        kept = [replace(row, split=part) for row, part in zip(kept, parts, strict=True)]
    elif blank := sum(row.split is None for row in kept):
        notices.append(f"{blank} pictures without a split are taken for training")
    return kept


def _there(source: Source, path: str) -> bool:
    return source.find(path) if isinstance(source, ListFolder) else path in source.files


def _splits_of_paths(paths: list[str]) -> list[str | None]:
    """train, val, test by the first-level folders, where all pictures lie below such folders."""
    try:
        rows = read_layout(paths).rows
    except DataError:
        rows = []
    found = {row.path: row.split for row in rows}
    return [found.get(path) if len(found) == len(paths) else None for path in paths]
