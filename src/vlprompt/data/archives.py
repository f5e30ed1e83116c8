"""Zip and tar archives, read in place; what looks like an attack or a bomb is refused."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any

from vlprompt.data.sources import Folder, Source
from vlprompt.data.zip_names import read_names
from vlprompt.errors import DataError

LARGEST_RATIO = 1_000  # unpacked to packed bytes of one entry larger than a megabyte
LARGEST_STREAM = 64 * 2**30  # bytes, a compressed tar unpacked
LARGEST_HEADER = 2**20  # bytes of what a tar says of one entry, or of all
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
LARGEST_STREAM_RATIO = 100  # the same, against the size of the archive; and all entries of a zip


class Zip(Source):
    """A zip archive, stored or compressed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._names: dict[str, str] = {}  # only of entries that are written oddly, such as ./cat//1.jpg
        total, packed = 0, path.stat().st_size
        infos = self._opened().infolist()
        names, self.names_read = read_names(infos)
        for info, told in zip(infos, names, strict=True):
            if not info.filename:
                raise DataError(f"{path}: not a complete zip archive (an entry has no name)")
            if info.is_dir():
                self._add_folder(told)
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
            total += info.file_size
            if total > LARGEST_STREAM_RATIO * packed + 2**26:
                raise DataError(f"{path}: refused, because it unpacks to more than {total >> 20} MB")
            name = self._add(told, info.file_size)
            if name and name != info.filename:
                self._names[name] = info.filename
        self.files = dict(sorted(self.files.items()))

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except Exception as error:  # damaged archives raise whatever they happen to hit
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
            kind = limited_headers(path)
            with tarfile.open(fileobj=self._opened(), mode="r:", tarinfo=kind) as archive:
                for info in archive:
                    archive.members = []  # type: ignore[attr-defined]  # it would remember them all, with what their headers say
                    if info.isdir():
                        self._add_folder(info.name)
                        continue
                    if not info.isreg() or info.issparse():
                        self.skipped["link" if info.issym() or info.islnk() else "special file"] += 1
                        continue
                    self._places[self._add(info.name, info.size)] = info.offset_data
        except DataError:
            raise
        except Exception as error:
            if not self._is_tar():
                raise DataError(f"{path}: holds one packed file and no folder; unpack it") from error
            raise DataError(f"{path}: not a complete tar archive ({error})") from error
        self.files = dict(sorted(self.files.items()))

    def _is_tar(self) -> bool:
        """Whether it begins as a tar does, packed or not."""
        file = self._opened()
        file.seek(257)
        return bool(file.read(5) == b"ustar")

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
        except Exception as error:
            out.close()
            if isinstance(error, DataError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
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


def limited_headers(path: Path) -> type[tarfile.TarInfo]:
    """The headers of one tar; DataError for those that hold more than names, however large a file they describe."""
    common = [0]  # bytes of headers for all entries, which are kept

    class Limited(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
            found = super().frombuf(buf, encoding, errors)
            common[0] += found.size if found.type == tarfile.XGLTYPE else 0
            if found.type in _EXTENDED and max(found.size, common[0]) > LARGEST_HEADER:
                raise DataError(
                    f"{path}: refused, because an extended header of it is larger than a header may be"
                )
            if found.type == tarfile.GNUTYPE_SPARSE and buf[482]:
                cls._sparse()
            return found

        @classmethod
        def _sparse(cls, *_: Any, **__: Any) -> None:
            raise DataError(f"{path}: refused, because it holds files with a map of holes (sparse files)")

        _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _sparse

    return Limited


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
