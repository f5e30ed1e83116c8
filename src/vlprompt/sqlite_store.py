"""Store: one SQLite file that several processes share and whose troubles never stop a run."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_WAIT = 30.0  # seconds for another process's transaction
# Connections that a forked process got from its parent: closing one could fold away the parent's log.
_INHERITED: list[sqlite3.Connection] = []


def warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=3)


class Store:
    """path: the file; None when there is none, or no more. schema: SQL that makes the tables.

    Can be pickled, used from threads and after a fork: every process has a connection of its own.
    """

    def __init__(self, path: Path | None, schema: str) -> None:
        self.path = path
        self.schema = schema
        self.writable = True
        self._connection: sqlite3.Connection | None = None
        self._process = -1
        self._lock = threading.RLock()

    def do(self, action: Callable[[sqlite3.Connection], T], writing: bool = False) -> T | None:
        """The action's result, in one transaction when writing; None without a usable file.

        A damaged file is replaced, a full disk ends writing, anything else ends the use of the file; each
        with one warning.
        """
        with self._lock:
            connection = self._connected()
            if connection is None or (writing and not self.writable):
                return None
            try:
                if not writing:
                    return action(connection)
                with connection:  # commits, or rolls back
                    connection.execute("BEGIN IMMEDIATE")
                    return action(connection)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if _damaged(error) and self.writable:
                    self._replace(error)
                elif writing:
                    warn(f"the feature cache {self.path} cannot be written ({error}); going on without")
                    self.writable = False
                else:
                    warn(f"the feature cache {self.path} cannot be read ({error}); going on without")
                    self._give_up()
                return None

    def shrink(self) -> None:
        """Gives free space back to the disk, unless another process is at work."""

        def vacuum(connection: sqlite3.Connection) -> None:
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        self.do(vacuum)

    def size(self) -> int:
        """Bytes on disk."""
        files = [Path(f"{self.path}{end}") for end in ("", "-wal", "-shm")]
        return sum(file.stat().st_size for file in files if os.path.exists(file))

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process != os.getpid():
                _INHERITED.append(self._connection)
            elif self._connection is not None:
                self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection | None:
        if self.path is None:
            return None
        if self._connection is not None and self._process == os.getpid():
            return self._connection
        self.close()
        reason: Exception | None = None
        for _ in range(2):  # a second time after a damaged file has been put away
            if self._is_of_others():
                break
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._connection, self._process = self._open(self.path), os.getpid()
                return self._connection
            except (OSError, sqlite3.DatabaseError, UnicodeDecodeError) as error:
                reason = error
                if isinstance(error, OSError) or not _damaged(error):
                    break
                self._replace(error)
        if read_only := self._open_read_only():
            return read_only
        warn(f"the feature cache {self.path} cannot be used ({reason}); going on without it")
        self._give_up()
        return None

    def _open(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=_WAIT, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA page_size=16384")  # several vectors a page; no effect on older files
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                connection.executescript(f"BEGIN IMMEDIATE; {self.schema} COMMIT;")
        except (sqlite3.Error, UnicodeDecodeError):
            connection.close()
            raise
        return connection

    def _is_of_others(self) -> bool:
        """Whether there is a file that this user may not write. To read it in the usual way would make files beside
        it that its owner could not write, who would be shut out from then on."""
        return self.path is not None and os.path.isfile(self.path) and not os.access(self.path, os.W_OK)

    def _open_read_only(self) -> sqlite3.Connection | None:
        """The file as it is, when it or its folder may not be written."""
        # pathlib's is_file raises in a folder that may not be entered
        if self.path is None or not os.path.isfile(self.path):
            return None
        if os.access(self.path.parent, os.W_OK) and not self._is_of_others():
            return None
        uri = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
            connection.execute("SELECT count(*) FROM sqlite_master")
        except (sqlite3.Error, UnicodeDecodeError):
            return None
        self._connection, self._process, self.writable = connection, os.getpid(), False
        warn(f"the feature cache {self.path} is read-only; nothing new is kept")
        return connection

    def _replace(self, error: Exception) -> None:
        """Puts a damaged file away, so that the next use starts an empty one."""
        self.close()
        warn(f"the feature cache {self.path} is damaged ({error}); starting a new one")
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self.path}{end}")

    def _give_up(self) -> None:
        self.close()
        self.path, self.writable = None, False

    def __del__(self) -> None:
        # at the end of a program modules may be gone before what uses them; the file needs no closing then
        if os is not None and getattr(self, "_connection", None) is not None:
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None, "_lock": None, "_process": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())


def _damaged(error: sqlite3.DatabaseError | UnicodeDecodeError) -> bool:
    """Whether the file itself is the trouble; subclasses mostly stand for full disks, locks and read-only files.

    Damaged names of tables reach SQLite's message, which Python then cannot decode.
    """
    told = (
        "no such",
        "no column",
        "unsupported file format",
        "malformed",
        "not decode",
        "too big",
        "corrupt",
    )
    return type(error) in (sqlite3.DatabaseError, UnicodeDecodeError) or any(
        words in str(error) for words in told
    )


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switches to a write-ahead log; SQLite does not wait by itself while another process does the same."""
    for attempt in range(100):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == 99:
                raise
            time.sleep(0.05)
