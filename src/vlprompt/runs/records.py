"""Records on disk: JSON lines that several processes may append to, and the facts of a run folder.

Reading them needs neither torch nor a backbone.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from vlprompt.errors import DataError, RunError
from vlprompt.files import LIMITS, MB, read_file
from vlprompt.locks import LOCK, locked_for_appending
from vlprompt.runs.info import INFO, RunInfo

TENSORS, LOG, CARD = "prompts.safetensors", "log.jsonl", "README.md"  # of a run folder, beside INFO
FILES = (INFO, TENSORS, LOG, CARD)  # of every run
LARGEST_VALUE = 2**63  # of a result
MOST_RECORDS = 1024 * MB  # of a file of results
MOST_DAMAGED = 100_000  # lines of a file of records that are none
_LINE = re.compile(rb"\S[^\n]*")  # one that is not empty
LOG_BEGUN = "checkpoint-log.jsonl"  # of a training that is to replace the run that is there
REST = ("predictions.csv", "checkpoint.safetensors", LOG_BEGUN, "report.html", "report-figures")  # of some


def append(path: Path, record: dict[str, Any]) -> None:
    """One record as one line, by one process at a time, so that two never mix their lines.

    A last line that a crash cut off is closed first, so that it spoils nothing after it. OSError if not all
    of the line could be written (full disk): then nothing of it stays, which might else be counted beside the
    second try.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record, ensure_ascii=False, default=str).encode() + b"\n"
    with locked_for_appending(path) as file:
        size = os.fstat(file).st_size
        if size:
            os.lseek(file, size - 1, os.SEEK_SET)
            if os.read(file, 1) != b"\n":
                line = b"\n" + line
        if os.write(file, line) < len(line):  # a disk that is all but full takes a part
            os.ftruncate(file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(file)


def read(path: Path) -> list[dict[str, Any]]:
    """All whole records of a file; DataError if it cannot be read or holds none."""
    try:
        found = lines_of(path)
    except OSError as error:
        raise DataError(f"{path}: no results can be read from it ({error.strerror or error})") from error
    records = [record for record in found if "protocol" in record and "method" in record]
    if not records:
        raise DataError(f"{path}: no results in it (JSON lines, as vlprompt protocol writes them)")
    for number, record in enumerate(records, start=1):
        if (wrong := wrong_value(record)) is not None:
            raise DataError(f"{path}: result {number} is none that vlprompt protocol writes: {wrong}")
    return records


_KINDS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("protocol", "method", "data", "backbone", "zero_shot_name"), (str, "text")),
    **dict.fromkeys(("shots", "seed"), (int, "a whole number")),
}


def wrong_value(record: dict[str, Any]) -> str | None:
    """Which value of a result cannot be, in words."""
    for key, value in record.items():
        kind, expected = _KINDS.get(key, (object, ""))
        if not isinstance(value, kind) or (kind is int and not _is_number(value)):
            return f'"{key}" is {json.dumps(value):.40}, expected {expected}'
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not _is_number(value):
            return f'"{key}" is {value!r:.40}'
    values = record.get("zero_shot")
    listed = list(values.values()) if isinstance(values, dict) else [0 if values is None else values]
    rows = record.get("matrix") or []
    if not isinstance(rows, list) or not all(isinstance(row, list) and row for row in rows):
        return '"matrix" holds no rows of numbers'
    wrong = [one for one in (*listed, *(value for row in rows for value in row)) if not _is_number(one)]
    return f"{json.dumps(wrong[0]):.40} stands where a number is expected" if wrong else None


def _is_number(value: object) -> bool:
    """Whether it can be counted with: neither infinite nor so large that its square would be."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST_VALUE


def check_place(folder: Path, overwrite: bool) -> None:
    """RunError if a new run must not be written there, because the folder holds something."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file, not a folder")
    if overwrite or not folder.exists() or not any(path.name != LOCK for path in folder.iterdir()):
        return
    held = "holds a finished run" if (folder / INFO).exists() else "exists already and is not empty"
    raise RunError(f"{folder}: {held}: choose another folder or overwrite it (--overwrite)")


def read_tensors(folder: Path, info: RunInfo) -> bytes:
    """The bytes of a run's tensors; RunError if they are not those that its run.json, `info`, names."""
    path = folder / TENSORS
    try:
        data = read_file(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
    if info.tensors is None or hashlib.sha256(data).hexdigest() != info.tensors.sha256:
        raise RunError(
            f"{path}: damaged, or not of this run: it does not match {INFO}; "
            "copy or fetch the run again, or learn it again with --overwrite"
        )
    return data


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log file, [] without one; lines cut off by a crash are left out."""
    try:
        return [record for record in lines_of(path, "event") if isinstance(record["event"], str)]
    except OSError:
        return []


def lines_of(path: Path, key: str | None = None) -> list[dict[str, Any]]:
    """The JSON objects of a file, one a line; whatever else it holds is left out. OSError if it cannot be read.

    key: that they must have. After MOST_DAMAGED lines that are none, the rest is not looked at.
    """
    found: list[dict[str, Any]] = []
    damaged = 0
    for match in _LINE.finditer(read_file(path, LIMITS.get(path.name, MOST_RECORDS))):
        try:
            record = json.loads(match[0].decode())
        except (ValueError, RecursionError):  # cut off by a crash, damaged, or nested without end
            record = None
        if isinstance(record, dict) and (key is None or key in record):
            found.append(record)
            continue
        damaged += 1
        if damaged > MOST_DAMAGED:
            break
    return found
