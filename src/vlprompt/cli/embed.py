"""vlprompt embed: image features of picture collections, as parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from vlprompt.cli import shared
from vlprompt.cli.console import note, say
from vlprompt.cli.predict import pictures


def embed(
    images: Annotated[list[str], typer.Argument(
        metavar="PATHS...", show_default=False, help="pictures, folders of pictures, or patterns such as '*.jpg'",
    )],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", show_default=False, help="where shards go")],
    dtype: Annotated[str, typer.Option("--dtype", metavar="float16|float32", help="of the stored numbers")] = "float16",
    shard: Annotated[int, typer.Option("--shard", min=1, help="pictures in a file")] = 4096,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what the folder holds")] = False,
    ray: Annotated[str | None, typer.Option(
        "--ray", metavar="ADDRESS", show_default=False,
        help="spread the files over a Ray cluster whose nodes see the same disk: host:port of its head, or auto",
    )] = None,
    cpus: Annotated[float, typer.Option("--cpus", min=0, help="CPUs that a worker takes of the cluster")] = 1,
    gpus: Annotated[float, typer.Option("--gpus", min=0, help="GPUs that a worker takes of the cluster")] = 0,
    backbone: shared.Backbone = "embedded",
    device: shared.Device = "auto",
    precision: shared.Precision = "float32",
) -> None:  # fmt: skip
    """Image features of many pictures, as parquet files.

    Each file holds path, feature and error. Files that are there are not
    done again, so an interrupted command goes on when it is given again.

    \b
    vlprompt embed photos/ --out features/
    vlprompt embed photos/ --out features/ --ray auto --gpus 1
    """
    paths = pictures(images)
    note(f"{len(paths)} pictures; loading torch and the backbone")
    from vlprompt.embedding import Loading, Shard
    from vlprompt.embedding import embed as write
    from vlprompt.training.progress import duration

    def tell(part: Shard, left: int) -> None:
        errors = f", {part.errors} unreadable" if part.errors else ""
        note(f"{Path(part.path).name}: {len(part.pictures)} pictures{errors}; {left} files left")

    more: dict[str, Any] = {"overwrite": overwrite, "ray": ray, "cpus": cpus, "gpus": gpus}
    kind = cast(Literal["float16", "float32"], dtype)
    found = write(paths, out, Loading(backbone, device, precision), dtype=kind, shard=shard, on_shard=tell, **more)
    speed = f", {found.done / found.seconds:.0f} pictures/s" if found.done and found.seconds else ""
    say(f"{found.folder}: {found.pictures} pictures in {found.shards} files; {found.done} done now, "
        f"{found.errors} of them unreadable, {duration(found.seconds)}{speed}")  # fmt: skip
