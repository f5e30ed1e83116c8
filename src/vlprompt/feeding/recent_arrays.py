"""RecentArrays: what frozen towers gave lately, in memory, for what is too large to be kept on disk."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_LIMIT = 2**29  # bytes


class RecentArrays:
    """Some arrays by key; beyond `limit` bytes those go that nobody asked for the longest."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.limit, self.bytes = limit, 0
        self._held: OrderedDict[str, tuple[NDArray[Any], ...]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> tuple[NDArray[Any], ...] | None:
        """The arrays of a key, not to be written to; None where there are none."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: str, arrays: tuple[NDArray[Any], ...]) -> None:
        """Holds copies."""
        own = tuple(array.copy() for array in arrays)
        with self._lock:
            self.bytes += _size(own) - _size(self._held.pop(key, ()))
            self._held[key] = own
            while self.bytes > self.limit:
                _, gone = self._held.popitem(last=False)
                self.bytes -= _size(gone)


def _size(arrays: tuple[NDArray[Any], ...]) -> int:
    return sum(array.nbytes for array in arrays)
