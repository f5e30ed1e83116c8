"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

from vlprompt.errors import RunError
from vlprompt.files import HOST, PART, is_running, remove_parts

T = TypeVar("T")
WAIT = 3.0  # seconds for another process to leave a run folder: enough for one that is about to end

_OWN = threading.local()
LOCK = ".lock"  # of a folder
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems without locks
_PLACE = 1 << 30  # Windows locks bytes, and others may not read them: one far behind the content


def open_locked(path: Path, *, wait: bool) -> int | None:
    """A file, made if need be, open for reading and writing and locked; None if another holds it (no wait).

    Open for reading alone where it is another user's, who is kept away by that just as well.
    """
    file = _open(path)
    while True:
        try:
            held = _lock(file, wait)
        except OSError:
            os.close(file)
            raise
        if held:
            return file
        if not wait:
            os.close(file)
            return None
        time.sleep(0.05)


def _open(path: Path) -> int:
    """A link is not followed: in a folder from elsewhere it may lead to any file, or to where one is made."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    for _ in range(100):
        try:  # not made if it is there, which Linux forbids in folders such as /tmp for files of others
            return os.open(path, os.O_RDWR | flags)
        except PermissionError:
            return os.open(path, os.O_RDONLY | flags)
        except FileNotFoundError:
            pass
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o644)
        except FileExistsError:  # another process was faster, or it is a link to nothing
            continue
        with suppress(
            OSError, AttributeError
        ):  # for all who may write in the folder, whatever the umask; it is empty
            os.fchmod(file, 0o666)
        return file
    raise OSError(errno.ELOOP, "a link that leads nowhere", str(path))


@contextmanager
def locked_for_appending(path: Path) -> Iterator[int]:
    """A file, made if need be, open for reading and for writing at its end, by one process at a time.

    Where the file system knows no locks, others are not kept away.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        try:
            while not _lock(file, True):  # Windows does not wait
                time.sleep(0.01)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        yield file
    finally:
        os.close(file)


@contextmanager
def folder_lock(folder: Path, wait: float) -> Iterator[bool]:
    """Holds a folder, made if need be, for one process at a time; gives whether it is held.

    wait: seconds for another process to let it go; a killed one has at once. The lock's file is removed at
    the end. Where the file system knows no locks, nothing is held against others and the answer is yes.
    OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, end = folder / LOCK, time.monotonic() + wait
    try:
        file = _present(path)
        while file is None and time.monotonic() < end:
            time.sleep(0.05)
            file = _present(path)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        yield True
        return
    if file is None:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # Windows removes no open file; it stays, and locks again
            path.unlink()
        os.close(file)


def alone_in_its_folder(function: Callable[..., T]) -> Callable[..., T]:
    """For functions with a keyword `out`, a run folder or None: no two processes work in one at a time.

    RunError for the second one, if the first does not end soon. What killed ones had begun to write is removed.
    """

    @wraps(function)
    def locked(*args: Any, **more: Any) -> T:
        with alone_in(more.get("out")):
            return function(*args, **more)

    return locked


@contextmanager
def alone_in(folder: str | Path | None) -> Iterator[None]:
    """The same for a block, in a folder or in none."""
    with ExitStack() as stack:
        if folder is not None:
            _enter(stack, Path(folder))
        yield


def _enter(stack: ExitStack, folder: Path) -> None:
    if folder.absolute() in _held():  # by a function that calls this one
        return
    there = folder.exists()
    try:
        held = stack.enter_context(folder_lock(folder, WAIT))
    except OSError as error:
        if not os.path.lexists(folder / LOCK) or not os.access(folder, os.W_OK):
            return  # a finished run in it can be read; else writing says what is wrong
        raise RunError(
            f"{folder}: cannot be locked ({error.strerror or error}), so that another command could write there too: "
            f"remove {folder / LOCK} if none does"
        ) from error
    if not held:
        raise RunError(
            f"{folder}: another command is at work in it: wait for its end, or choose another folder (--out)"
        )
    _held().add(folder.absolute())
    stack.callback(_held().discard, folder.absolute())
    if not there:
        stack.callback(_remove_if_empty, folder)  # nothing came of it
    remove_parts(folder)


@contextmanager
def workplace(path: Path) -> Iterator[Path]:
    """A folder beside a file or folder that is to be written, to write its parts in; it is gone at the end.

    What killed processes of this machine left of theirs goes too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{escape(path.name)}.{HOST}.*{PART}"):
        number = left.name.split(".")[-3]
        if number.isdecimal() and not is_running(int(number)) and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
    start = f".{path.name}.{HOST}.{os.getpid()}."
    folder = Path(tempfile.mkdtemp(prefix=start, suffix=PART, dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _held() -> set[Path]:
    """Folders that this thread has alone."""
    if not hasattr(_OWN, "folders"):
        _OWN.folders = set()
    folders: set[Path] = _OWN.folders
    return folders


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        (folder / LOCK).unlink()
    with suppress(OSError):
        folder.rmdir()


def _present(path: Path) -> int | None:
    """`open_locked`, unless the one who held the lock has removed the file meanwhile."""
    while True:
        file = open_locked(path, wait=False)
        if file is None:
            return None
        with suppress(OSError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        os.close(file)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, wait: bool) -> bool:
        os.lseek(file, _PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(file: int, wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
