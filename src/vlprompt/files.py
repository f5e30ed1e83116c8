"""Small files on disk: read within limits, written whole or not at all.

A folder from elsewhere may hold a pipe, a link to a device or a file without end under any name; reading one of
these would never return. `read_file` takes regular files (and links to them) up to a size, and nothing else.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import stat
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PART = ".part"  # ending of files that are being written
LIST = ".written-together.json"  # of files that are on the way to their places
HOST = "".join(c for c in socket.gethostname() if c.isalnum() or c == "-")[:50] or "host"
MB = 1 << 20
MOST_DOTS = 1000  # on a line of TOML
MOST_NESTED = 100  # JSON values inside each other; what people write stays below ten

# the most that files of a run folder may hold; what writes them stays far below
LIMITS = {
    "run.json": 64 * MB,
    "prompts.safetensors": 2048 * MB,
    "checkpoint.safetensors": 8192 * MB,
    "log.jsonl": 256 * MB,
    "checkpoint-log.jsonl": 256 * MB,
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
    if data is None:  # some there have nothing yet, and would keep one waiting
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))
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
    check_nesting(found)
    return found


def check_nesting(found: Any) -> None:
    """ValueError for more than MOST_NESTED values inside each other; not by recursion, which has an end itself."""
    level, deep = [found], 0
    while level := [inner for value in level for inner in _inside(value)]:
        deep += 1
        if deep > MOST_NESTED:
            raise ValueError(f"values are nested more than {MOST_NESTED} deep")


def parse_toml(data: bytes) -> dict[str, Any]:
    """What a TOML file holds, within the limits of `parse_json`; ValueError.

    tomllib takes minutes for a key of very many parts, which are on one line.
    """
    text = data.decode()
    if any(line.count(".") > MOST_DOTS for line in text.splitlines()):
        raise ValueError(f"a line holds more than {MOST_DOTS} dots: break it")
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise ValueError("values are nested without end") from None
    check_nesting(found)
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


def write_together(folder: Path, files: dict[str, bytes], gone: Collection[str] = ()) -> None:
    """Files that belong together, the last of which says that they are complete. gone: what else goes for them.

    All are written beside their places first, then a list of them: from then on they count, and whoever comes after a
    process that was killed in the middle ends what it began (`finish_writing`). Before, the old ones are as they
    were. So there are the old files or the new ones, never some of each. OSError leaves the old.
    """
    for name in files:
        if (folder / name).is_dir():  # which no file can replace: found out before anything is written
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / name))
    beside = {name: _part(folder, name) for name in files}
    listed = folder / LIST
    try:
        finish_writing(folder)
        for name in (*files, LIST):
            remove_dead_parts(folder, f".{name}.")
        for name, data in files.items():
            _write(beside[name], data)
        if len(files) == 1 and not gone:
            (name,) = files
            os.replace(beside[name], folder / name)
        else:
            said = {
                "files": {name: path.name for name, path in beside.items()},
                "gone": sorted(set(gone) - set(files)),
            }
            _write(_part(folder, LIST), json.dumps(said).encode())
            _flush(folder)  # the parts have to be on the disk before the list that says so
            os.replace(_part(folder, LIST), listed)
            _flush(folder)
            finish_writing(folder)
    finally:
        if not listed.exists():  # else they are all that there is of the new files
            for path in (*beside.values(), _part(folder, LIST)):
                path.unlink(missing_ok=True)
    _flush(folder)


def finish_writing(folder: Path) -> None:
    """Ends what a process began that was killed while it wrote files together; OSError if the folder is read-only."""
    listed = folder / LIST
    try:
        said = parse_json(read_file(listed, MB))
        files, gone = dict(said["files"]), list(said["gone"])
        names = [*files, *files.values(), *gone]
        *others, last = files
    except FileNotFoundError:
        return
    except (ValueError, TypeError, KeyError):
        names = [""]
    if any(
        not isinstance(name, str) or not name or Path(name).name != name or ".." in name for name in names
    ):
        listed.unlink(missing_ok=True)  # of nobody who writes folders
        return
    if (folder / files[last]).exists():
        (folder / last).unlink(missing_ok=True)  # programs that do not know of the list find no mixture
    for name in gone:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            shutil.rmtree(folder / name, ignore_errors=True)
        else:
            (folder / name).unlink(missing_ok=True)
    for name in (*others, last):
        with suppress(FileNotFoundError):  # it is in its place already
            os.replace(folder / files[name], folder / name)
    _flush(folder)
    listed.unlink(missing_ok=True)


def settle(part: Path, place: Path) -> None:
    """Puts a file that was written beside its place there, once its content is on the disk."""
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, place)
    _flush(place.parent)


def copy_whole(path: Path, place: Path) -> None:
    """A copy with the times of the file: whole, or none. OSError."""
    part = place.parent / f".{HOST}.{os.getpid()}{PART}"  # short: the name may be as long as names can be
    try:
        shutil.copy2(path, part)
        os.replace(part, place)
    finally:
        part.unlink(missing_ok=True)


def _part(folder: Path, name: str) -> Path:
    return folder / f".{name}.{HOST}.{os.getpid()}{PART}"


def remove_dead_parts(folder: Path, start: str = ".") -> None:
    """Removes what killed processes of this machine had begun to write under names that begin so.

    What other machines or living processes write is theirs, so that nobody needs to have the folder alone.
    """
    for path in folder.glob(f"{escape(start)}{HOST}.*{PART}"):
        number = path.name.removesuffix(PART).removeprefix(f"{start}{HOST}.")
        if number.isdecimal() and not is_running(int(number)):
            with suppress(OSError):
                path.unlink()


def is_running(number: int) -> bool:
    """Whether there is a process of that number on this machine; without signals, nobody knows."""
    if os.name != "posix":
        return True
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True


def _write(path: Path, data: bytes) -> None:
    """A new file: a link of that name, which a folder from elsewhere may hold, is not followed but replaced."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, 0o666), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    """New names themselves have to reach the disk."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def remove_parts(folder: Path) -> None:
    """Ends or removes what killed processes had begun to write; only for one who has the folder alone."""
    with suppress(OSError):
        finish_writing(folder)
    for path in folder.glob(f".*{PART}"):
        with suppress(OSError):
            path.unlink()
