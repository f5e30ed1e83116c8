"""Small files on disk: read within limits, written whole or not at all.

A folder from elsewhere may hold a pipe, a link to a device or a file without end under any name; reading one of
these would never return. `read_file` takes regular files (and links to them) up to a size, and nothing else.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

PART = ".part"  # ending of files that are being written
MB = 1 << 20
MOST_NESTED = 100  # JSON values inside each other; what people write stays below ten

# the most that files of a run folder may hold; what writes them stays far below
LIMITS = {
    "run.json": 64 * MB,
    "prompts.safetensors": 2048 * MB,
    "checkpoint.safetensors": 8192 * MB,
    "log.jsonl": 256 * MB,
    "predictions.csv": 1024 * MB,
    "README.md": 4 * MB,
}


def read_file(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file of at most `most` bytes; without a number, what LIMITS says for its name.

    OSError where it cannot be read, is a pipe, a device, a socket or a folder, or is larger.
    """
    limit = LIMITS[path.name] if most is None else most
    check_regular(path, limit)
    # without waiting: what was a file a moment ago may be a pipe by now
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags | getattr(os, "O_NOCTTY", 0)), "rb") as file:
        _check(os.fstat(file.fileno()), path, limit)
        data = file.read(limit + 1)  # a file of /proc says that it is empty
    if len(data) > limit:
        raise _too_large(path, limit)
    return data


def read_json(path: Path, most: int = 64 * MB) -> Any:
    """The JSON value in a regular file: finite numbers, at most MOST_NESTED values inside each other.

    OSError where it cannot be read, ValueError for what is no such JSON.
    """
    return parse_json(read_file(path, most))


def parse_json(data: bytes | str) -> Any:
    """The JSON value of a text in UTF-8, within the same limits; ValueError."""
    try:
        found = json.loads(data, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("values are nested without end") from None
    level, deep = [found], 0
    while level := [
        inner for value in level for inner in _inside(value)
    ]:  # not by recursion, which has an end itself
        deep += 1
        if deep > MOST_NESTED:
            raise ValueError(f"values are nested more than {MOST_NESTED} deep")
    return found


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def check_regular(path: Path, most: int | None = None) -> None:
    """OSError if the path leads to no regular file of at most `most` bytes, for readers that open it themselves."""
    _check(os.stat(path), path, LIMITS[path.name] if most is None else most)


def _check(found: os.stat_result, path: Path, limit: int) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "no regular file, but a pipe, device or socket", str(path))
    if found.st_size > limit:
        raise _too_large(path, limit)


def _too_large(path: Path, limit: int) -> OSError:
    size = f"{limit // MB} MB" if limit >= MB else f"{limit} bytes"
    return OSError(errno.EFBIG, f"larger than the {size} that are read of such a file", str(path))


def write_atomically(path: Path, data: bytes) -> None:
    """The file holds either its old content or all of the new, also after a crash or a power cut."""
    write_together(path.parent, {path.name: data})


def write_together(folder: Path, files: dict[str, bytes]) -> None:
    """Files that belong together, the last of which says that they are complete.

    All are written beside their places first. Of several, the old last one goes before the others come, so
    that a process that is killed leaves the old ones, the new ones, or no last one. OSError leaves the old.
    """
    beside = {name: folder / f".{name}.{os.getpid()}{PART}" for name in files}
    *_, last = files
    try:
        for name, data in files.items():
            with open(beside[name], "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if len(files) > 1:
            (folder / last).unlink(missing_ok=True)
        for name in files:
            os.replace(beside[name], folder / name)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # the new names themselves have to reach the disk
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def remove_parts(folder: Path) -> None:
    """Removes what killed processes had begun to write; only for one who has the folder alone."""
    for path in folder.glob(f".*{PART}"):
        with suppress(OSError):
            path.unlink()
