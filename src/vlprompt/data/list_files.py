"""Rows of lists, and the split files of published code."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vlprompt.data.split_names import SPLITS
from vlprompt.errors import DataError

SPLIT_FILE = re.compile(r"(^|/)split_[^/]*\.json$")


@dataclass(frozen=True)
class Row:
    """One picture of a list. label: class key. name: class name, where the list gives one."""

    path: str
    label: str
    split: str | None = None
    domain: str | None = None
    name: str | None = None


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
