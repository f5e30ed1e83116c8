"""Packs: a data set with its image features, to be sent to where neither pictures nor a shared disk need be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlprompt.data.dataset import Dataset, Item
from vlprompt.feeding.feature_cache import FeatureCache

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Pack:
    """dataset: with its items; the pictures stay where they are. hashes: of picture files, by path.
    rows: key of the feature cache -> row of values [N, d]."""

    dataset: Dataset
    hashes: dict[str, str]
    rows: dict[str, int]
    values: NDArray[Any]


class PackedCache(FeatureCache):
    """A feature cache that begins with packs, and can make one of what went through it.

    directory: as for `FeatureCache`; what no pack holds is looked up and kept there.
    """

    def __init__(self, directory: str | bool | None, packs: Sequence[Pack]) -> None:
        super().__init__(directory)
        self.packs = {pack.dataset.name: pack for pack in packs}
        self._hashes: dict[str, str] = {}
        self._values: dict[str, NDArray[Any]] = {}

    def get_many(self, keys: Sequence[str]) -> list[NDArray[Any] | None]:
        """As in `FeatureCache`."""
        found = {key: self._packed(key) for key in keys}
        missing = [key for key, value in found.items() if value is None]
        found |= dict(zip(missing, super().get_many(missing), strict=True)) if missing else {}
        self._values |= {key: value for key, value in found.items() if value is not None and not self.packs}
        return [found[key] for key in keys]

    def put_many(self, entries: Iterable[tuple[str, NDArray[Any]]]) -> None:
        """As in `FeatureCache`."""
        kept = list(entries)
        if not self.packs:
            self._values |= dict(kept)
        super().put_many(kept)

    def content_hashes(self, dataset: Dataset, items: Sequence[Item]) -> list[str]:
        """As in `FeatureCache`, without reading the pictures of a pack."""
        pack = self.packs.get(dataset.name.partition(":")[0])
        if pack is not None and all(item.path in pack.hashes for item in items):
            return [pack.hashes[item.path] for item in items]
        found = super().content_hashes(dataset, items)
        if not self.packs:
            self._hashes |= {item.path: value for item, value in zip(items, found, strict=True)}
        return found

    def pack(self, dataset: Dataset) -> Pack:
        """All that went through this cache."""
        values = list(self._values.values())
        rows = {key: i for i, key in enumerate(self._values)}
        return Pack(dataset, self._hashes, rows, np.stack(values) if values else np.zeros((0, 0), np.float32))

    def _packed(self, key: str) -> NDArray[Any] | None:
        for pack in self.packs.values():
            row = pack.rows.get(key)
            if row is not None:
                return pack.values[row].copy()
        return None
