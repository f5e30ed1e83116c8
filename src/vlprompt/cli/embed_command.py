"""vlprompt embed: image features of picture collections, as parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.collection_arguments import pictures, say_done, tell_shard
from vlprompt.cli.console import note


def embed(
    images: shared.Images,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", show_default=False, help="where shards go")
    ],
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="float16|float32", help="of the stored numbers")
    ] = "float16",
    shard: shared.ShardSize = 4096,
    overwrite: shared.OverwriteShards = False,
    ray: shared.Ray = None,
    cpus: shared.Cpus = 1,
    gpus: shared.Gpus = 0,
    backbone: shared.Backbone = "embedded",
    device: shared.Device = "auto",
    precision: shared.Precision = "float32",
) -> None:
    """Image features of many pictures, as parquet files.

    Each file holds path, feature and error. Files that are there are not
    done again, so an interrupted command goes on when it is given again.

    \b
    vlprompt embed photos/ --out features/
    vlprompt embed photos/ --out features/ --ray auto --gpus 1
    """
    paths = pictures(images)
    note(f"{len(paths)} pictures; loading torch and the backbone")
    from vlprompt.collections.embedding import Loading, Number
    from vlprompt.collections.embedding import embed as write

    more: dict[str, Any] = {"overwrite": overwrite, "ray": ray, "cpus": cpus, "gpus": gpus}
    loading = Loading(backbone, device, precision)
    say_done(write(paths, out, loading, dtype=cast(Number, dtype), shard=shard, on_shard=tell_shard, **more))
