"""Where pictures lie: what folders and archives have in common, and folders.

Every source answers three questions: which files are there (path with `/` -> size in bytes), what are the
bytes of one, and what identifies it cheaply (file, size, time of change). Sources can be pickled and used
after a fork or from threads: file handles are opened again in each process.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from vlprompt.errors import DataError
from vlprompt.files import read_file

MOST_FILES = 5_000_000
SETTLED = 50_000_000  # ns; the clocks of file systems tick every 1 to 10 ms
LARGEST_FILE = 512 * 2**20  # bytes, one entry

MOST_FOLDERS = 1_000_000  # links may lead to the same folders again and again

# what operating systems, network storage, synchronisers and editors write for themselves, beside what begins with a dot
_IGNORED = frozenset(
    "__macosx|thumbs.db|desktop.ini|$recycle.bin|system volume information|lost+found|recycler|@eadir|#recycle|#snapshot|"
    "@recycle|@recently-snapshot|@__thumb|@tmp|@sharebin|network trash folder|temporary items|_gsdata_|_vti_cnf|~snapshot|"
    "__pycache__|node_modules|captureone|icon\r".split("|")
)


def hidden(path: str) -> bool:
    """Whether a part of the path is hidden or written by an operating system or program for itself."""
    return any(part.startswith((".", "~$")) or part.lower() in _IGNORED for part in path.split("/"))


def _why_hidden(path: str) -> str:
    """How a hidden file is counted: those in folders of programs are told, what every system writes is not."""
    named = next((part for part in path.split("/")[:-1] if part.lower() in _IGNORED), None)
    if named is None or named == "__MACOSX":
        return "hidden"
    return f"in {named}/, which a system or program writes for itself"


def state_of(found: os.stat_result) -> int:
    """A number that changes whenever the file does, also where programs set its time and size back.

    A file that takes the place of another has a number of its own (inode); one that is written anew gets a time of
    change that no program can set. What changed a moment ago may change again within the same tick of the clock,
    so that a state that young counts once only.
    """
    parts = [found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
    if abs(time.time_ns() - found.st_ctime_ns) < SETTLED:
        parts.append(time.perf_counter_ns())
    text = " ".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1  # as SQLite's integers


class Source:
    """path: the folder or archive. files: path inside -> size in bytes. folders: the listed ones.

    skipped: counts by reason. names_read: how names of entries were read that an archive does not say the encoding of.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, int] = {}
        self.folders: set[str] = set()
        self.skipped: Counter[str] = Counter()
        self.names_read = ""
        self._handle: Any = None
        self._handle_of = -1
        self._lock = threading.RLock()

    def read(self, name: str) -> bytes:
        """The bytes of one file; DataError when it is not there or cannot be read."""
        if name not in self.files:
            raise DataError(f"{self.path}: there is no {name} in it")
        try:
            return self._read(name)
        except DataError:
            raise
        except Exception as error:  # damaged archives raise whatever they happen to hit
            raise DataError(f"{self.path}: {name} cannot be read ({error})") from error

    def head(self, name: str, size: int = 32) -> bytes:
        """The first bytes of a file, by which its kind is told; b"" where it cannot be read."""
        try:
            return self.read(name)[:size] if self.files.get(name, 0) < 2**26 else b""
        except DataError:
            return b""

    def identity(self, name: str) -> tuple[str, int, int]:
        """(where, size in bytes, state): as long as it stays the same, so do the bytes."""
        found = os.stat(self.path)
        return f"{os.path.abspath(self.path)}:{name}", found.st_size, state_of(found)

    def stamp(self, name: str) -> str:
        """What tells versions of a file apart at no cost, wherever the data set lies: its size."""
        return str(self.files.get(name, -1))

    def close(self) -> None:
        """Closes the file; reading opens it again."""
        with self._lock:
            handle, self._handle = self._handle, None
            if handle is not None:
                handle.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self._handle.close()

    def _read(self, name: str) -> bytes:
        raise NotImplementedError

    def _open(self) -> Any:
        raise NotImplementedError

    def _opened(self) -> Any:
        """This process's own handle; a forked child must not share its parent's place in the file."""
        with self._lock:
            if self._handle is None or self._handle_of != os.getpid():
                self.close()
                self._handle, self._handle_of = self._open(), os.getpid()
            return self._handle

    def _add(self, name: str, size: int) -> str:
        """Lists one archive entry after the checks that all archives need; its path, "" if left out."""
        path = name.replace("\\", "/").removeprefix("./")
        parts = PurePosixPath(path).parts
        if path.startswith("/") or ".." in parts or (parts and ":" in parts[0]):
            raise DataError(f"{self.path}: refused, because its entry {name!r} points outside the archive")
        if size > LARGEST_FILE:
            raise DataError(
                f"{self.path}: refused, because {name} holds {size >> 20} MB (at most {LARGEST_FILE >> 20})"
            )
        if len(self.files) >= MOST_FILES:
            raise DataError(f"{self.path}: refused, because it holds more than {MOST_FILES} files")
        if hidden(path) or not parts:
            self.skipped[_why_hidden(path)] += 1
            return ""
        self.files["/".join(parts)] = size
        return "/".join(parts)

    def _add_folder(self, name: str) -> None:
        path = "/".join(PurePosixPath(name.replace("\\", "/").removeprefix("./")).parts)
        if path and not hidden(path):
            self.folders.add(path)
        if len(self.folders) > MOST_FOLDERS:
            raise DataError(f"{self.path}: refused, because it holds more than {MOST_FOLDERS} folders")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())


class Folder(Source):
    """A folder, listed recursively; links are followed, except one that leads back to a folder it lies in."""

    def __init__(self, path: Path, most_files: int = MOST_FILES) -> None:
        super().__init__(path)
        self._most = most_files
        left: list[tuple[Path, str, tuple[tuple[int, int], ...]]] = [(path, "", ())]
        while left:  # not by recursion: folders may lie in each other deeper than that goes
            left += self._walk(*left.pop())
        self.files = dict(sorted(self.files.items()))

    def _walk(
        self, folder: Path, prefix: str, above: tuple[tuple[int, int], ...]
    ) -> list[tuple[Path, str, tuple[tuple[int, int], ...]]]:
        """Lists one folder; gives those inside."""
        inside: list[tuple[Path, str, tuple[tuple[int, int], ...]]] = []
        try:
            here = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if not prefix:
                raise DataError(
                    f"{folder}: cannot be listed ({error.strerror}); check that you may read it"
                ) from error
            self.skipped["unreadable folder"] += 1
            return []
        place = (here.st_dev, here.st_ino)
        if place in above:
            self.skipped["link that leads in a circle"] += 1
            return []
        for entry in entries:
            name = prefix + entry.name
            if hidden(entry.name):
                self.skipped[_why_hidden(f"{entry.name}/" if entry.is_dir() else entry.name)] += 1
                continue
            try:
                found = entry.stat()
            except OSError as error:
                self.skipped["unreadable file" if isinstance(error, PermissionError) else "broken link"] += 1
                continue
            if stat.S_ISDIR(found.st_mode):
                self.folders.add(name)
                inside.append((folder / entry.name, name + "/", (*above, place)))
            elif stat.S_ISREG(found.st_mode):
                self.files[name] = found.st_size
            if len(self.files) > self._most or len(self.folders) > MOST_FOLDERS:
                raise DataError(
                    f"{self.path}: more than {self._most} files; point at the data set's own folder"
                )
        return inside

    def head(self, name: str, size: int = 32) -> bytes:
        try:
            with open(self.path / name, "rb") as file:
                return file.read(size)
        except OSError:
            return b""

    def read(self, name: str) -> bytes:
        path = self.path / name  # an absolute name, as CSV files may hold, stays absolute
        try:
            return read_file(path, LARGEST_FILE)
        except (OSError, ValueError) as error:  # of a name with a zero in it
            raise DataError(
                f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
            ) from error

    def identity(self, name: str) -> tuple[str, int, int]:
        found = os.stat(self.path / name)
        return os.path.abspath(self.path / name), found.st_size, state_of(found)
