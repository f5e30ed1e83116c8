"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

_PLACE = 1 << 30  # Windows locks bytes, and others may not read them: one far behind the content


def open_locked(path: Path, *, wait: bool) -> int | None:
    """A file, made if need be, open for reading and writing and locked; None if another holds it (no wait)."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    while True:
        if _lock(file, wait):
            return file
        if not wait:
            os.close(file)
            return None
        time.sleep(0.05)


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
