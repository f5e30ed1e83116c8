"""Where pictures lie: a folder, a zip or a tar archive, listed once and read in place.

Every source answers three questions: which files are there (path with `/` -> size in bytes), what are the
bytes of one, and what identifies it cheaply (file, size, time of change). Sources can be pickled and used
after a fork or from threads: file handles are opened again in each process.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import IO, Any

from vlprompt.errors import DataError

MOST_FILES = 5_000_000
LARGEST_FILE = 512 * 2**20  # bytes, one entry
LARGEST_RATIO = 1_000  # unpacked to packed bytes of one entry larger than a megabyte
LARGEST_STREAM = 64 * 2**30  # bytes, a compressed tar unpacked
LARGEST_STREAM_RATIO = 100  # the same, against the size of the archive

_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN"}


def hidden(path: str) -> bool:
    """Whether a part of the path is hidden or written by an operating system for itself."""
    return any(part.startswith(".") or part in _IGNORED for part in path.split("/"))


class Source:
    """path: the folder or archive. files: path inside -> size in bytes. folders: the listed ones.

    skipped: counts by reason.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, int] = {}
        self.folders: set[str] = set()
        self.skipped: Counter[str] = Counter()
        self._handle: Any = None
        self._handle_of = -1
        self._lock = threading.RLock()

    def read(self, name: str) -> bytes:
        """The bytes of one file; DataError when it is not there or cannot be read."""
        if name not in self.files:
            raise DataError(f"{self.path}: there is no {name} in it")
        try:
            return self._read(name)
        except (
            OSError,
            EOFError,
            zlib.error,
            zipfile.BadZipFile,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise DataError(f"{self.path}: {name} cannot be read ({error})") from error

    def identity(self, name: str) -> tuple[str, int, int]:
        """(where, size in bytes, time of change in ns): as long as it stays the same, so do the bytes."""
        found = os.stat(self.path)
        return f"{os.path.abspath(self.path)}:{name}", found.st_size, found.st_mtime_ns

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
        if hidden(path):
            self.skipped["hidden"] += 1
            return ""
        self.files["/".join(parts)] = size
        return "/".join(parts)

    def _add_folder(self, name: str) -> None:
        path = "/".join(PurePosixPath(name.replace("\\", "/").removeprefix("./")).parts)
        if path and not hidden(path):
            self.folders.add(path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())


class Folder(Source):
    """A folder, listed recursively; links are followed, but no folder is entered twice."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._walk(path, "", set())
        self.files = dict(sorted(self.files.items()))

    def _walk(self, folder: Path, prefix: str, seen: set[tuple[int, int]]) -> None:
        try:
            here = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if not prefix:
                raise DataError(
                    f"{folder}: cannot be listed ({error.strerror}); check that you may read it"
                ) from error
            self.skipped["unreadable folder"] += 1
            return
        if (here.st_dev, here.st_ino) in seen:
            return
        seen.add((here.st_dev, here.st_ino))
        for entry in entries:
            name = prefix + entry.name
            if hidden(entry.name):
                self.skipped["hidden"] += 1
                continue
            try:
                found = entry.stat()
            except OSError:
                self.skipped["broken link"] += 1
                continue
            if stat.S_ISDIR(found.st_mode):
                self.folders.add(name)
                self._walk(folder / entry.name, name + "/", seen)
            elif stat.S_ISREG(found.st_mode):
                self.files[name] = found.st_size
            if len(self.files) > MOST_FILES:
                raise DataError(
                    f"{self.path}: more than {MOST_FILES} files; point at the data set's own folder"
                )

    def read(self, name: str) -> bytes:
        path = self.path / name  # an absolute name, as CSV files may hold, stays absolute
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise DataError(f"{path}: larger than {LARGEST_FILE >> 20} MB")
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error

    def identity(self, name: str) -> tuple[str, int, int]:
        found = os.stat(self.path / name)
        return os.path.abspath(self.path / name), found.st_size, found.st_mtime_ns


class Zip(Source):
    """A zip archive, stored or compressed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._names: dict[str, str] = {}  # only of entries that are written oddly, such as ./cat//1.jpg
        for info in self._opened().infolist():
            if info.is_dir():
                self._add_folder(info.filename)
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                self.skipped["link"] += 1
                continue
            if info.flag_bits & 1:
                raise DataError(f"{path}: it is protected by a password; unpack it and give the folder")
            if info.file_size > 2**20 and info.file_size > LARGEST_RATIO * max(info.compress_size, 1):
                raise DataError(
                    f"{path}: refused, because {info.filename} unpacks to {info.file_size >> 20} MB"
                )
            name = self._add(info.filename, info.file_size)
            if name and name != info.filename:
                self._names[name] = info.filename
        self.files = dict(sorted(self.files.items()))

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(f"{self.path}: not a complete zip archive ({error})") from error

    def _read(self, name: str) -> bytes:
        with self._opened().open(self._names.get(name, name)) as file:
            data: bytes = file.read(self.files[name] + 1)
        if len(data) != self.files[name]:
            raise DataError(f"{self.path}: {name} is not as long as the archive says")
        return data


class Tar(Source):
    """A tar archive; a compressed one is unpacked once, as one stream, into an unnamed temporary file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._places: dict[str, int] = {}
        try:
            with tarfile.open(fileobj=self._opened(), mode="r:") as archive:
                for info in archive:
                    if info.isdir():
                        self._add_folder(info.name)
                        continue
                    if not info.isreg() or info.issparse():
                        self.skipped["link" if info.issym() or info.islnk() else "special file"] += 1
                        continue
                    self._places[self._add(info.name, info.size)] = info.offset_data
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: not a complete tar archive ({error})") from error
        self.files = dict(sorted(self.files.items()))

    def _open(self) -> IO[bytes]:
        with open(self.path, "rb") as file:
            magic = file.read(6)
        if magic[:2] == b"\x1f\x8b":
            return self._unpacked(gzip.open(self.path))
        if magic[:3] == b"BZh":
            return self._unpacked(bz2.open(self.path))
        if magic[:6] == b"\xfd7zXZ\x00":
            return self._unpacked(lzma.open(self.path))
        return open(self.path, "rb")

    def _unpacked(self, stream: Any) -> IO[bytes]:
        most = min(LARGEST_STREAM, LARGEST_STREAM_RATIO * self.path.stat().st_size + 2**20)
        out = tempfile.TemporaryFile(prefix="vlprompt-")  # noqa: SIM115 - it lives as long as the source
        written = 0
        try:
            with stream:
                while block := stream.read(2**20):
                    written += len(block)
                    if written > most:
                        raise DataError(
                            f"{self.path}: refused, because it unpacks to more than {most >> 20} MB"
                        )
                    out.write(block)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, DataError) as error:
            out.close()
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self.path}: not a complete archive ({error})") from error
        out.seek(0)
        return out

    def _read(self, name: str) -> bytes:
        size, place = self.files[name], self._places[name]
        if self._handle is not None and hasattr(
            os, "pread"
        ):  # needs no place in the file: safe after a fork too
            data = os.pread(self._handle.fileno(), size, place)
        else:
            with self._lock:
                file = self._opened()
                file.seek(place)
                data = file.read(size)
        if len(data) != size:
            raise DataError(f"{self.path}: {name} is cut off")
        return data


def is_archive(path: Path) -> bool:
    """Whether the file starts like an archive that `open_source` takes."""
    with open(path, "rb") as file:
        head = file.read(512)
    packed = head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head[:6] == b"\xfd7zXZ\x00"
    return packed or head[:4] in (b"PK\x03\x04", b"PK\x05\x06") or head[257:262] == b"ustar"


def open_source(path: Path) -> Source:
    """The folder or archive at `path`, told apart by content, not by name."""
    if path.is_dir():
        return Folder(path)
    with open(path, "rb") as file:
        head = file.read(4)
    return Zip(path) if head in (b"PK\x03\x04", b"PK\x05\x06") else Tar(path)
