"""embed: features of large picture collections, as parquet shards that are written once.

    FOLDER/embed.json            backbone, kind of numbers, which pictures
    FOLDER/part-00000.parquet    path, feature (list of numbers, null if unreadable), error

A shard appears under its name when it is whole, so what is there is not done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlprompt.errors import MissingExtra, OptionError, PictureError, RunError

if TYPE_CHECKING:
    import numpy as np

    from vlprompt.clip.backbone import Backbone

INFO = "embed.json"
SHARD = 4096  # pictures in a shard
OnShard = Callable[["Shard", int], None]


@dataclass(frozen=True)
class Loading:
    """What `load_backbone` is told."""

    source: str = "embedded"
    device: str = "auto"
    precision: str = "float32"
    tokenizer: str | None = None


@dataclass(frozen=True)
class Shard:
    """One file to write, of these pictures. errors: how many could not be read, once it is written."""

    path: str
    pictures: tuple[str, ...]
    errors: int = 0


@dataclass(frozen=True)
class Embedded:
    """shards, pictures: of the collection; done: pictures of this call; errors: of them, not readable."""

    folder: Path
    shards: int
    pictures: int
    done: int
    errors: int
    seconds: float


def embed(
    pictures: Sequence[str],
    out: str | Path,
    loading: Loading = Loading(),
    *,
    dtype: Literal["float16", "float32"] = "float16",
    shard: int = SHARD,
    overwrite: bool = False,
    ray: str | None = None,
    cpus: float = 1,
    gpus: float = 0,
    on_shard: OnShard | None = None,
) -> Embedded:
    """Writes the unit-length image features of all pictures; shards that are there are left as they are.

    dtype: of the stored numbers. ray: address of a cluster whose nodes see the same files; a worker takes
    cpus and gpus of it. on_shard(shard, shards left): told after each.

    RunError if `out` holds features of other pictures or of another backbone.
    """
    parquet()
    if dtype not in ("float16", "float32"):
        raise OptionError(f'dtype is "{dtype}": expected float16 or float32')
    if shard < 1:
        raise OptionError(f"shard is {shard}: expected at least 1")
    began, folder = time.monotonic(), Path(out)
    paths = [os.path.abspath(path) for path in pictures] if ray is not None else list(pictures)
    prepare_folder(folder, paths, loading, dtype, shard, overwrite)
    shards = [
        Shard(str(folder.resolve() / f"part-{start // shard:05d}.parquet"), tuple(paths[start : start + shard]))
        for start in range(0, len(paths), shard)
    ]
    todo = [part for part in shards if not Path(part.path).exists()]
    work = (write_shard(part, loading, dtype) for part in todo) if ray is None else spread(
        todo, loading, dtype, ray, cpus, gpus
    )  # fmt: skip
    errors = done = 0
    for number, part in enumerate(work, start=1):
        errors += part.errors
        done += len(part.pictures)
        if on_shard is not None:
            on_shard(part, len(todo) - number)
    return Embedded(folder, len(shards), len(paths), done, errors, time.monotonic() - began)


def prepare_folder(folder: Path, paths: Sequence[str], loading: Loading, dtype: str, shard: int, overwrite: bool) -> None:
    """Writes embed.json, or checks that it says the same."""
    backbone = backbone_of(loading)
    names = hashlib.sha256("\n".join(map(os.path.abspath, paths)).encode(errors="surrogateescape")).hexdigest()
    info = {
        "format": 1, "backbone": {"source": backbone.name, "fingerprint": backbone.fingerprint},
        "precision": loading.precision, "dtype": dtype, "width": backbone.embed_dim,
        "pictures": len(paths), "shard": shard, "paths": names,
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for old in folder.glob("part-*.parquet"):
                old.unlink()
        elif (folder / INFO).exists():
            held = json.loads((folder / INFO).read_text(encoding="utf-8"))
            other = [name for name, value in info.items() if held.get(name) != value]
            if other:
                raise RunError(f"{folder}: holds features that differ in {', '.join(other)}: choose another folder or --overwrite")
            return
        (folder / INFO).write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunError(f"{folder}: cannot be used ({error})") from error


def write_shard(shard: Shard, loading: Loading, dtype: str) -> Shard:
    """Encodes the pictures of one shard and writes it; gives it with the number of unreadable pictures."""
    import numpy as np

    pa, pq = parquet()
    backbone = backbone_of(loading)
    errors: list[str | None] = []
    kept: list[Any] = []
    for features, wrong in encoded(backbone, shard.pictures):
        errors += wrong
        rows = iter(features.astype(dtype))
        kept += [None if reason is not None else next(rows) for reason in wrong]
    width = backbone.embed_dim
    flat = np.concatenate([row if row is not None else np.zeros(width, dtype) for row in kept])
    mask = pa.array([row is None for row in kept])
    values = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.from_numpy_dtype(np.dtype(dtype))), width, mask=mask)
    table = pa.table({
        "path": pa.array(shard.pictures, pa.string()), "feature": values.cast(pa.list_(values.type.value_type)),
        "error": pa.array(errors, pa.string()),
    })  # fmt: skip
    part = f"{shard.path}.{os.getpid()}.tmp"
    pq.write_table(table, part, compression="zstd")
    os.replace(part, shard.path)
    return Shard(shard.path, shard.pictures, sum(error is not None for error in errors))


def encoded(backbone: Backbone, pictures: Sequence[str]) -> Iterator[tuple[np.ndarray, list[str | None]]]:
    """Batch after batch: float32 features of the readable pictures, and for every picture what is wrong with it.

    While a batch goes through the tower, threads decode the next one.
    """
    import numpy as np

    from vlprompt.data.pictures import open_picture
    from vlprompt.training.inputs import to_pixels

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
            yield features, [str(crop) if isinstance(crop, PictureError) else None for crop in found]


def spread(shards: Sequence[Shard], loading: Loading, dtype: str, address: str, cpus: float, gpus: float
           ) -> Iterator[Shard]:
    """The same on a Ray cluster, with Ray Data: shards as they are finished."""
    from vlprompt.sweeps.cluster import connect

    ray = connect(address)
    try:
        from ray import data as ray_data
    except ImportError as error:
        raise MissingExtra("Ray Data", "embed-ray", "vlprompt embed --ray") from error
    if not shards:
        return
    each = {"shards": [asdict(shard) | {"pictures": "\n".join(shard.pictures)} for shard in shards]}
    held = ray_data.from_items(each["shards"], override_num_blocks=len(shards))
    slots = max(1, int(ray.cluster_resources().get("GPU", 0) / gpus if gpus else ray.cluster_resources().get("CPU", 1) / max(cpus, 0.01)))
    done = held.map_batches(
        Embedder, fn_constructor_kwargs={"loading": located(loading), "dtype": dtype}, batch_size=1,
        num_cpus=cpus, num_gpus=gpus, concurrency=(1, min(slots, len(shards))),
    )  # fmt: skip
    for row in done.iter_rows():
        yield Shard(str(row["path"]), tuple(str(row["pictures"]).split("\n")), int(row["errors"]))


class Embedder:
    """A worker of Ray Data: loads the backbone once, then writes shard after shard."""

    def __init__(self, loading: Loading, dtype: str) -> None:
        self.loading, self.dtype = loading, dtype
        backbone_of(loading)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        shards = [Shard(str(p), tuple(str(q).split("\n"))) for p, q in zip(batch["path"], batch["pictures"], strict=True)]
        return batch | {"errors": [write_shard(s, self.loading, self.dtype).errors for s in shards]}


def located(loading: Loading) -> Loading:
    """The same with absolute paths, for processes in other folders."""
    from vlprompt.sweeps.cells import absolute

    return Loading(absolute(loading.source), loading.device, loading.precision, absolute(loading.tokenizer))


@lru_cache(maxsize=1)
def backbone_of(loading: Loading) -> Backbone:
    from vlprompt.clip.loading import load_backbone

    return load_backbone(loading.source, device=loading.device, precision=loading.precision, tokenizer=loading.tokenizer)


def parquet() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet; MissingExtra with the command that installs them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "embed", "writing parquet files") from error
    return pyarrow, pyarrow.parquet
