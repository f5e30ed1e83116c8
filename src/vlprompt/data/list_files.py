"""Lists of pictures: CSV and JSON-Lines files, labels files, and the split files of published code."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from vlprompt.errors import DataError, nearest

PATH_COLUMNS = ("path", "file_name", "filename", "filepath", "file", "image_path", "image", "img", "picture")
LABEL_COLUMNS = ("label", "class", "category", "class_name", "label_name", "target")
SPLIT_COLUMNS = ("split", "subset", "set", "partition")
DOMAIN_COLUMNS = ("domain",)
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
SPLIT_FILE = re.compile(r"(^|/)split_[^/]*\.json$")
_PICTURE = re.compile(r"\.(jpe?g|jpe|jfif|png|webp|bmp|gif|tiff?|p[pgb]m|avif)$", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One picture of a list. label: class key. name: class name, where the list gives one."""

    path: str
    label: str
    split: str | None = None
    domain: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Table:
    """A list of pictures before a label column has been chosen. names: of classes, by label column and label."""

    name: str
    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    names: dict[str, dict[str, str]] = field(default_factory=dict)

    def column(self, known: Sequence[str]) -> str | None:
        lower = {column.lower(): column for column in reversed(self.columns)}
        return next((lower[name] for name in known if name in lower), None)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns that may hold labels: neither paths nor splits nor domains."""
        other = {self.column(PATH_COLUMNS), self.column(SPLIT_COLUMNS), self.column(DOMAIN_COLUMNS)}
        return tuple(column for column in self.columns if column not in other)

    def chosen_label(self) -> str | None:
        """The label column when there is no doubt about it: one of the usual names, the only one whose classes have
        names, or the only one left."""
        usual = self.column(LABEL_COLUMNS) or (next(iter(self.names)) if len(self.names) == 1 else None)
        return usual or (self.label_columns[0] if len(self.label_columns) == 1 else None)

    def labelled(self, label_column: str | None = None) -> list[Row]:
        """Rows by the chosen column; DataError for unknown columns, splits and rows without a path."""
        path = self.column(PATH_COLUMNS)
        if path is None:
            raise DataError(
                f"{self.name}: no column of picture paths; call it path (columns: {', '.join(self.columns)})"
            )
        if label_column is not None and label_column not in self.columns:
            raise DataError(
                f'{self.name}: there is no column "{label_column}"; {nearest(label_column, self.columns)}'
            )
        label = label_column or self.chosen_label()
        if label is None:
            found = ", ".join(self.label_columns)
            raise DataError(
                f"{self.name}: which column holds the labels? choose one with label_column: {found or 'none'}"
            )
        split, domain = self.column(SPLIT_COLUMNS), self.column(DOMAIN_COLUMNS)
        rows = []
        for number, row in enumerate(self.rows, start=2):
            given = row.get(split, "").lower() if split else ""
            if given and given not in SPLITS:
                raise DataError(f'{self.name}, line {number}: split "{given}" is none of train, val, test')
            rows.append(
                Row(
                    row.get(path, ""),
                    row.get(label, ""),
                    SPLITS.get(given),
                    (domain and row.get(domain)) or None,
                    self.names.get(label, {}).get(row.get(label, "")),
                )
            )
        return rows


def read_table(data: bytes, name: str) -> Table:
    """A CSV (its delimiter found out) or JSON-Lines file, told apart by its first character.

    A CSV without a header line is taken as path, label when its first cell is a picture's path.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    if not text.strip():
        raise DataError(f"{name}: the list is empty")
    return _json_lines(text, name) if text.lstrip()[0] in "{[" else _csv(text, name)


def _csv(text: str, name: str) -> Table:
    first = text.lstrip().splitlines()[0]
    delimiter = max(",;\t|", key=first.count)
    try:
        lines = [
            row
            for row in csv.reader(io.StringIO(text), delimiter=delimiter)
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise DataError(f"{name}: not a readable CSV file ({error})") from error
    if not lines:
        raise DataError(f"{name}: the list is empty")
    head = [cell.strip() for cell in lines[0]]
    if _PICTURE.search(head[0]):
        if len(head) < 2:
            raise DataError(f"{name}: no labels; write path,label on every line")
        head, body = ["path", "label", *(f"column{n}" for n in range(3, len(head) + 1))], lines
    else:
        body = lines[1:]
    if len(set(head)) < len(head):
        raise DataError(f"{name}: two columns have the same name ({', '.join(head)})")
    rows = [dict(zip(head, (cell.strip() for cell in line), strict=False)) for line in body]
    return Table(name, tuple(head), rows)


def _json_lines(text: str, name: str) -> Table:
    try:
        if text.lstrip().startswith("["):
            parsed = json.loads(text)
        else:
            parsed = [json.loads(line) for line in text.split("\n") if line.strip()]
        if not all(isinstance(row, dict) for row in parsed):
            raise DataError(
                f'{name}: every line must be an object such as {{"path": "a.jpg", "label": "cat"}}'
            )
        columns = tuple(dict.fromkeys(str(key) for row in parsed for key in row))
        rows = [
            {str(key): "" if value is None else str(value).strip() for key, value in row.items()}
            for row in parsed
        ]
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not readable as JSON Lines ({error}); write one object a line") from error
    return Table(name, columns, rows)


def is_split_file(data: bytes) -> bool:
    """Whether the file is one JSON object whose keys are splits."""
    if data.lstrip()[:1] != b"{":
        return False
    try:
        parts = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(parts, dict) and bool(parts) and all(str(key) in SPLITS for key in parts)


def read_split_file(data: bytes, name: str, files: Collection[str]) -> list[Row]:
    """A split file in the form of CoOp's: {"train": [[path, label, class name], ...], "val": ..., "test":
    ...}.

    The paths in it are relative to some folder of pictures, which is searched for among `files`.
    """
    try:
        parts: Any = json.loads(data)
        listed = [
            (str(path), int(label), str(words), SPLITS[part])
            for part, entries in parts.items()
            for path, label, words in entries
        ]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(
            f'{name}: not a split file {{"train": [[path, label, class name], ...], ...}}'
        ) from error
    if not listed:
        raise DataError(f"{name}: the split file is empty")
    folder = _picture_folder([path for path, *_ in listed], name, files)
    return [Row(folder + path, str(label), part, None, words) for path, label, words, part in listed]


def _picture_folder(paths: list[str], name: str, files: Collection[str]) -> str:
    known = set(files)
    beside = name.rpartition("/")[0]
    folders = {f"{beside}/" if beside else "", ""}
    for file in known:
        parents = list(PurePosixPath(file).parents)[-4:-1]  # at most three levels deep
        folders.update(f"{parent}/" for parent in parents)
    some = paths[:: max(1, len(paths) // 50)]
    folder = max(sorted(folders), key=lambda folder: sum(folder + path in known for path in some))
    if not any(folder + path in known for path in some):
        raise DataError(f"{name}: none of its pictures is there, for example {paths[0]}")
    return folder
