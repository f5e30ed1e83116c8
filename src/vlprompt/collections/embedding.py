"""embed: image features of large picture collections, as parquet shards that are written once.

FOLDER/embed.json            backbone, kind of numbers, which pictures
FOLDER/part-00000.parquet    path, feature (list of numbers, null if unreadable), error
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlprompt.collections.shards import SHARD, Done, OnShard, escaped, parquet, process
from vlprompt.errors import OptionError, PictureError

if TYPE_CHECKING:
    import numpy as np

    from vlprompt.backbones.backbone import Backbone

Number = Literal["float16", "float32"]


@dataclass(frozen=True)
class Loading:
    """What `load_backbone` is told."""

    source: str = "embedded"
    device: str = "auto"
    precision: str = "float32"
    tokenizer: str | None = None


def embed(
    pictures: Sequence[str],
    out: str | Path,
    loading: Loading = Loading(),
    *,
    dtype: Number = "float16",
    shard: int = SHARD,
    overwrite: bool = False,
    ray: str | None = None,
    cpus: float = 1,
    gpus: float = 0,
    on_shard: OnShard | None = None,
) -> Done:
    """Writes the unit-length image features of all pictures; shards that are there are left as they are.

    dtype: of the stored numbers. shard: pictures in a file. ray, cpus, gpus, on_shard: as in `process`.

    RunError if `out` holds features of other pictures or of another backbone.
    """
    parquet()
    if dtype not in ("float16", "float32"):
        raise OptionError(f'dtype is "{dtype}": expected float16 or float32')
    more: dict[str, Any] = {"ray": ray, "cpus": cpus, "gpus": gpus, "on_shard": on_shard}
    return process(pictures, out, Embedding(loading, dtype), shard=shard, overwrite=overwrite, **more)


@dataclass(frozen=True)
class Embedding:
    """The work of `embed`; see `vlprompt.collections.shards.Work`."""

    loading: Loading
    dtype: Number
    name: str = "embed"
    kind: str = "parquet"

    def facts(self) -> dict[str, Any]:
        backbone = backbone_of(self.loading)
        return {
            "backbone": {"source": backbone.name, "fingerprint": backbone.fingerprint},
            "precision": self.loading.precision,
            "dtype": self.dtype,
            "width": backbone.embed_dim,
        }

    def located(self) -> Embedding:
        from vlprompt.ray_cluster import absolute

        held = self.loading
        return replace(
            self, loading=replace(held, source=absolute(held.source), tokenizer=absolute(held.tokenizer))
        )

    def load(self) -> None:
        backbone_of(self.loading)

    def write(self, pictures: Sequence[str], file: Path) -> int:
        import numpy as np

        pa, pq = parquet()
        backbone = backbone_of(self.loading)
        errors: list[str | None] = []
        kept: list[Any] = []
        for features, wrong in encoded(backbone, pictures):
            errors += wrong
            rows = iter(features.astype(self.dtype))
            kept += [None if reason is not None else next(rows) for reason in wrong]
        width = backbone.embed_dim
        flat = np.concatenate([row if row is not None else np.zeros(width, self.dtype) for row in kept])
        mask = pa.array([row is None for row in kept])
        numbers = pa.array(flat, pa.from_numpy_dtype(np.dtype(self.dtype)))
        values = pa.FixedSizeListArray.from_arrays(numbers, width, mask=mask)
        table = pa.table(
            {
                "path": pa.array(map(escaped, pictures), pa.string()),
                "feature": values.cast(pa.list_(values.type.value_type)),
                "error": pa.array(errors, pa.string()),
            }
        )
        with file.open("wb") as out:  # opened here: pyarrow takes no names that are no Unicode
            pq.write_table(table, out, compression="zstd")
        return sum(error is not None for error in errors)


def encoded(backbone: Backbone, pictures: Sequence[str]) -> Iterator[tuple[np.ndarray, list[str | None]]]:
    """Batch after batch: float32 features of the readable pictures, and for every picture what is wrong with it.

    While a batch goes through the tower, threads decode the next one.
    """
    import numpy as np

    from vlprompt.data.pictures import open_picture
    from vlprompt.feeding.inputs import to_pixels

    def crop(path: str) -> Any:
        try:
            return np.asarray(backbone.preprocessing.crop(open_picture(path)))
        except PictureError as error:
            return error

    size = 32 if backbone.device.type == "cpu" else 256
    starts = range(0, len(pictures), size)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        ahead = [pool.submit(crop, path) for path in pictures[:size]]
        for start in starts:
            found = [future.result() for future in ahead]
            ahead = [pool.submit(crop, path) for path in pictures[start + size : start + 2 * size]]
            good = [crop for crop in found if not isinstance(crop, PictureError)]
            features = np.zeros((0, backbone.embed_dim), np.float32)
            if good:
                pixels = to_pixels(np.stack(good), backbone.preprocessing, backbone.device)
                features = backbone.image_features(pixels).float().cpu().numpy()
            yield features, [escaped(str(crop)) if isinstance(crop, PictureError) else None for crop in found]


@lru_cache(maxsize=1)
def backbone_of(loading: Loading) -> Backbone:
    from vlprompt.backbones.loading import load_backbone

    return load_backbone(
        loading.source, device=loading.device, precision=loading.precision, tokenizer=loading.tokenizer
    )
