"""FeatureCache: features of frozen towers on disk, so that a picture is encoded once.

One SQLite file, safe for several processes. Every entry carries a checksum; what does not match is not used,
but computed again. A cache that cannot be opened or written (read-only folder, full disk) costs time, never a
run: one warning, then the work goes on without it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlprompt.sqlite_store import Store, warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vlprompt.data.dataset import Dataset, Item
    from vlprompt.feeding.recent_arrays import RecentArrays

DEFAULT_LIMIT = 8 * 2**30  # bytes
_FILE = "features-1.sqlite"
_CHUNK = 500  # below SQLite's oldest limit of 999 variables

_SCHEMA = """
CREATE TABLE IF NOT EXISTS features (
    key TEXT PRIMARY KEY, dtype TEXT NOT NULL, shape TEXT NOT NULL, value BLOB NOT NULL,
    check_sum BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS contents (place TEXT PRIMARY KEY, size INTEGER, changed INTEGER, hash TEXT);
"""


def default_directory() -> Path | None:
    """VLPROMPT_CACHE, else the platform's cache folder. None when VLPROMPT_CACHE is "off"."""
    chosen = os.environ.get("VLPROMPT_CACHE", "").strip()
    if chosen:
        return None if chosen.lower() in ("off", "0", "none") else Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "vlprompt" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "vlprompt"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vlprompt"


def feature_key(
    *, backbone: str, precision: str, preprocessing: str, view: str, content: str, kind: str
) -> str:
    """The key of one array: a hash of everything that its values depend on.

    backbone: fingerprint. preprocessing: any text that pins it down. view: `views.view_key`. content: hash of
    the picture file. kind: "features", "patches", ...
    """
    parts = (backbone, precision, preprocessing, view, content, kind)
    text = "\n".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class CacheInfo:
    """entries: arrays. bytes: size on disk. path: the file, None when there is no cache."""

    entries: int
    bytes: int
    path: Path | None


class FeatureCache:
    """Arrays by key.

    directory: where the file lies; None for the default, False for no cache at all. limit: bytes, beyond
    which the oldest entries go; environment variable VLPROMPT_CACHE_GB when not given. recent: for several runs in one
    process, arrays that are too large for the file; None: they are made anew by each.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | bool | None = None,
        limit: int | None = None,
        recent: RecentArrays | None = None,
    ) -> None:
        folder = default_directory() if directory is None or directory is True else directory
        self.limit = limit if limit is not None else _limit()
        self._store = Store(Path(folder) / _FILE if folder else None, _SCHEMA)
        self._contents: dict[tuple[str, int, int], str] = {}
        self.recent = recent

    @property
    def path(self) -> Path | None:
        """The file; None without a cache, or once it has proved unusable."""
        return self._store.path

    def get(self, key: str) -> NDArray[Any] | None:
        """The array of one key, or None."""
        return self.get_many([key])[0]

    def put(self, key: str, value: NDArray[Any]) -> None:
        self.put_many([(key, value)])

    def get_many(self, keys: Sequence[str]) -> list[NDArray[Any] | None]:
        """The array of each key, the caller's own; None where there is none or its checksum is wrong."""
        found: dict[str, NDArray[Any]] = {}
        damaged: list[str] = []

        def select(connection: sqlite3.Connection) -> None:
            for chunk in _chunks(list(dict.fromkeys(keys))):
                query = (
                    f"SELECT key, dtype, shape, value, check_sum FROM features WHERE key IN ({_marks(chunk)})"
                )
                for key, dtype, shape, value, check in connection.execute(query, chunk):
                    if isinstance(value, bytes) and check == _check_sum(key, dtype, shape, value):
                        sides = [int(side) for side in shape.split(",") if side]
                        found[key] = np.frombuffer(value, dtype=np.dtype(dtype)).reshape(sides).copy()
                    else:
                        damaged.append(key)

        self._store.do(select)
        if damaged:
            self._forget(damaged)
        first: set[str] = set()
        result: list[NDArray[Any] | None] = []
        for key in keys:  # a key asked for twice gives two arrays
            value = found.get(key)
            result.append(value.copy() if value is not None and key in first else value)
            first.add(key)
        return result

    def put_many(self, entries: Iterable[tuple[str, NDArray[Any]]]) -> None:
        """Stores all arrays in one transaction: all of them are there afterwards, or none."""
        records = []
        for key, value in entries:
            array = np.ascontiguousarray(value)
            if array.dtype.hasobject or array.dtype.names:
                raise TypeError(f"arrays of {array.dtype} cannot be cached")
            dtype, shape, data = array.dtype.str, ",".join(map(str, np.shape(value))), array.tobytes()
            records.append((key, dtype, shape, data, _check_sum(key, dtype, shape, data)))

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?)", records)
            self._keep_below_limit(connection)

        if records:
            self._store.do(insert, writing=True)

    def content_hash(self, dataset: Dataset, item: Item) -> str:
        """Hash of one picture file's bytes; see `content_hashes`."""
        return self.content_hashes(dataset, [item])[0]

    def content_hashes(self, dataset: Dataset, items: Sequence[Item]) -> list[str]:
        """Hash of each picture file's bytes. A file is read again only when its place, size or time of change
        differ.

        Raises PictureError for a picture that cannot be read.
        """
        places = [_identity(dataset, item) for item in items]
        asked = [
            place for place in dict.fromkeys(places) if place is not None and place not in self._contents
        ]

        def select(connection: sqlite3.Connection) -> None:
            for chunk in _chunks([place[0] for place in asked]):
                query = f"SELECT place, size, changed, hash FROM contents WHERE place IN ({_marks(chunk)})"
                for place, size, changed, held in connection.execute(query, chunk):
                    content, _, check = str(held).partition(" ")
                    if check == _check_place(place, size, changed, content):
                        self._contents[place, size, changed] = content

        if asked:
            self._store.do(select)
        fresh: list[tuple[str, int, int, str]] = []
        result: list[str] = []
        try:
            for item, where in zip(items, places, strict=True):
                content = self._contents.get(where) if where is not None else None
                if content is None:
                    content = dataset.content_hash(item)
                    if where is not None:
                        self._contents[where] = content
                        fresh.append((*where, f"{content} {_check_place(*where, content)}"))
                result.append(content)
        finally:
            if fresh:
                insert = "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?)"
                self._store.do(lambda connection: connection.executemany(insert, fresh), writing=True)
        return result

    def info(self) -> CacheInfo:
        """What the cache holds; opens no new one."""
        if self.path is None or not os.path.exists(self.path):
            return CacheInfo(0, 0, self.path)
        count = self._store.do(lambda file: file.execute("SELECT count(*) FROM features").fetchone()[0])
        return CacheInfo(count or 0, self._store.size(), self.path)

    def clear(self) -> CacheInfo:
        """Empties the cache and gives the space back; returns what it held."""
        before = self.info()
        if before.path is not None and os.path.exists(before.path):
            self._store.do(lambda file: file.execute("DELETE FROM features"), writing=True)
            self._store.do(lambda file: file.execute("DELETE FROM contents"), writing=True)
            self._store.shrink()
        self._contents.clear()
        return before

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        self._store.close()

    def _forget(self, keys: list[str]) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            for chunk in _chunks(keys):
                connection.execute(f"DELETE FROM features WHERE key IN ({_marks(chunk)})", chunk)

        self._store.do(delete, writing=True)

    def _keep_below_limit(self, connection: sqlite3.Connection) -> None:
        """Drops the oldest entries until a tenth of the limit is free; their pages are used again."""
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        used = (pages - free) * size
        if used <= self.limit:
            return
        to_free, last = used - int(0.9 * self.limit), None
        for row, length in connection.execute(
            "SELECT rowid, length(value) + 200 FROM features ORDER BY rowid"
        ):
            last, to_free = row, to_free - length
            if to_free <= 0:
                break
        if last is not None:
            connection.execute("DELETE FROM features WHERE rowid <= ?", (last,))


def _limit() -> int:
    text = os.environ.get("VLPROMPT_CACHE_GB", "")
    try:
        return int(float(text) * 2**30) if text else DEFAULT_LIMIT
    except ValueError:
        warn(f"VLPROMPT_CACHE_GB={text} is not a number; using {DEFAULT_LIMIT >> 30}")
        return DEFAULT_LIMIT


def _identity(dataset: Dataset, item: Item) -> tuple[str, int, int] | None:
    try:
        found = dataset.source.identity(item.path)
    except OSError:
        return None
    if found is None:
        return None
    place, size, changed = found  # file names may be other than UTF-8, which SQLite does not take
    return place.encode(errors="backslashreplace").decode(), size, changed


def _check_sum(key: str, dtype: str, shape: str, value: bytes) -> bytes:
    start = hashlib.blake2b(f"{key}|{dtype}|{shape}|".encode(), digest_size=8)
    start.update(value)
    return start.digest()


def _check_place(place: str, size: int, changed: int, content: str) -> str:
    text = f"{place}|{size}|{changed}|{content}"
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))


def _marks(chunk: list[str]) -> str:
    return ",".join("?" * len(chunk))
