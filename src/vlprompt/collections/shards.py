"""Large collections of pictures, shard by shard: paths go in, files of rows come out, each written once.

    FOLDER/<work>.json         what is done, and on which pictures
    FOLDER/part-00000.<kind>   a row or more for every picture of the first shard

A shard appears under its name when it is whole, so what is there is not done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vlprompt.errors import MissingExtra, OptionError, RunError, VlpromptError
from vlprompt.files import HOST, is_running, read_json, settle, write_atomically

SHARD = 4096  # pictures in a shard
DAY = 86_400.0  # seconds, after which nobody is at work on a shard any more
RETRIES = 3  # of a shard over a cluster whose worker was lost
RESTARTS = 10  # of such a worker, which may also be lost while it gets ready
OnShard = Callable[["Shard", int], None]


class Work(Protocol):
    """What is done with the pictures: plain values, which travel to other processes."""

    @property
    def name(self) -> str:
        """Of the file of facts, and what the command line calls it."""

    @property
    def kind(self) -> str:
        """Ending of a shard's file."""

    def facts(self) -> dict[str, Any]:
        """What all shards of a folder must agree on; finds out what is wrong with the settings."""

    def located(self) -> Work:
        """The same with absolute paths, for processes in other folders."""

    def load(self) -> None:
        """Gets ready, so that the first shard takes no longer than the others."""

    def write(self, pictures: Sequence[str], file: Path) -> int:
        """Writes the rows of these pictures; gives how many could not be read."""


@dataclass(frozen=True)
class Shard:
    """One file to write, of these pictures. errors: how many could not be read, once it is written."""

    path: str
    pictures: tuple[str, ...]
    errors: int = 0


@dataclass(frozen=True)
class Done:
    """shards, pictures: of the collection; done: pictures of this call; errors: of them, not readable."""

    folder: Path
    shards: int
    pictures: int
    done: int
    errors: int
    seconds: float


def process(
    pictures: Sequence[str],
    out: str | Path,
    work: Work,
    *,
    shard: int = SHARD,
    overwrite: bool = False,
    ray: str | None = None,
    cpus: float = 1,
    gpus: float = 0,
    on_shard: OnShard | None = None,
) -> Done:
    """Does the work for all pictures; shards that are there are left as they are.

    ray: address of a cluster whose nodes see the same files; a worker takes cpus and gpus of it.
    on_shard(shard, shards left): told after each.

    RunError if `out` holds the rows of other pictures or of other settings.
    """
    if shard < 1:
        raise OptionError(f"shard is {shard}: expected at least 1")
    from vlprompt.data.many_pictures import list_of_pictures

    began, folder = time.monotonic(), Path(out)
    paths = [os.fspath(path) for path in list_of_pictures(pictures)]
    if ray is not None:
        paths = [os.path.abspath(path) for path in paths]
    prepare_folder(folder, paths, work, shard, overwrite)
    remove_left(folder)
    shards = [
        Shard(
            str(folder.resolve() / f"part-{start // shard:05d}.{work.kind}"),
            tuple(paths[start : start + shard]),
        )
        for start in range(0, len(paths), shard)
    ]
    todo = [part for part in shards if not Path(part.path).exists()]
    parts = (write_shard(part, work) for part in todo) if ray is None else spread(todo, work, ray, cpus, gpus)
    errors = done = 0
    try:
        for number, part in enumerate(parts, start=1):
            errors += part.errors
            done += len(part.pictures)
            if on_shard is not None:
                on_shard(part, len(todo) - number)
    finally:
        remove_left(folder)  # of workers that were killed meanwhile
    return Done(folder, len(shards), len(paths), done, errors, time.monotonic() - began)


def prepare_folder(folder: Path, paths: Sequence[str], work: Work, shard: int, overwrite: bool) -> None:
    """Writes the file of facts, or checks that it says the same."""
    names = hashlib.sha256(
        "\n".join(map(os.path.abspath, paths)).encode(errors="surrogateescape")
    ).hexdigest()
    facts = {"format": 1} | work.facts() | {"pictures": len(paths), "shard": shard, "paths": names}
    file = folder / f"{work.name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for old in folder.glob("part-*"):
                old.unlink()
        elif file.exists():
            held = read_json(file)
            other = [name for name, value in facts.items() if held.get(name) != value]
            if other:
                raise RunError(
                    f"{folder}: what it holds differs in {', '.join(other)}: choose another folder or --overwrite"
                )
            return
        elif any(folder.glob("part-*")):
            raise RunError(f"{folder}: holds shards of something else: choose another folder or --overwrite")
        write_atomically(file, (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"{folder}: cannot be used ({getattr(error, 'strerror', None) or error})") from error


def remove_left(folder: Path) -> None:
    """Removes what killed processes had begun to write: those of this machine, or a day ago."""
    for path in folder.glob("part-*.tmp"):
        rest, _, number = path.name.removesuffix(".tmp").rpartition(".")
        with suppress(OSError):
            own = rest.endswith(f".{HOST}") and number.isdecimal()
            dead = own and (int(number) == os.getpid() or not is_running(int(number)))
            if dead or time.time() - path.stat().st_mtime > DAY:
                path.unlink()


def write_shard(shard: Shard, work: Work) -> Shard:
    """Writes the file of one shard at once; gives the shard with the number of unreadable pictures.

    RunError where it cannot be written, or most of its pictures are no longer there, as with a drive that has gone: what
    is there by then stays, and the same command goes on.
    """
    part = Path(f"{shard.path}.{HOST}.{os.getpid()}.tmp")
    try:
        part.unlink(missing_ok=True)  # a link, in a folder from elsewhere, would be written through
        errors = work.write(shard.pictures, part)
        _check_still_there(shard, errors)
        settle(part, Path(shard.path))
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"{shard.path}: cannot be written ({reason}): give the same command again then"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return Shard(shard.path, shard.pictures, errors)


def _check_still_there(shard: Shard, errors: int) -> None:
    if 2 * errors <= len(shard.pictures) or len(shard.pictures) == 1:
        return
    gone = [path for path in shard.pictures if not os.path.exists(path)]
    if 2 * len(gone) > len(shard.pictures):
        raise RunError(
            f"{shard.path}: is not written, because {len(gone)} of its {len(shard.pictures)} pictures are no longer there, for "
            f"example {gone[0]}: give the same command again once they are"
        )


def spread(shards: Sequence[Shard], work: Work, address: str, cpus: float, gpus: float) -> Iterator[Shard]:
    """The same on a Ray cluster, with Ray Data: shards as they are finished."""
    from vlprompt.ray_cluster import connect

    ray = connect(address)
    try:
        from ray import data as ray_data
    except ImportError as error:
        raise MissingExtra("Ray Data", "embed-ray", f"vlprompt {work.name} --ray") from error
    if not shards:
        return
    rows = [{"path": shard.path, "pictures": json.dumps(shard.pictures)} for shard in shards]
    ray_data.DataContext.get_current().enable_progress_bars = False  # shards are told about by the caller
    held = ray_data.from_items(rows, override_num_blocks=len(rows))
    found = ray.cluster_resources()
    slots = int(found.get("GPU", 0) / gpus if gpus else found.get("CPU", 1) / max(cpus, 0.01))
    done = held.map_batches(
        Worker,
        fn_constructor_kwargs={"work": work.located()},
        batch_size=1,
        num_cpus=cpus,
        num_gpus=gpus,
        max_task_retries=RETRIES,  # Ray Data's own numbers are without end
        max_restarts=RESTARTS,
        compute=ray_data.ActorPoolStrategy(min_size=1, max_size=min(max(1, slots), len(rows))),
    )
    talk = logging.getLogger("ray.data")  # a trace for every failure, which is told in one line below
    level = talk.level
    talk.setLevel(logging.CRITICAL)
    try:
        for row in done.iter_rows():
            yield Shard(str(row["path"]), tuple(json.loads(row["pictures"])), int(row["errors"]))
    except ray.exceptions.RayError as error:
        raise RunError(_given_up(error, isinstance(error, ray.exceptions.RayTaskError))) from error
    finally:
        talk.setLevel(level)


def _given_up(error: BaseException, raised: bool) -> str:
    """In one line, why a cluster has given up. raised: a worker lived on and said why; else it was killed."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, VlpromptError):
            return str(inner)
        last, inner = inner, getattr(inner, "cause", None) or inner.__cause__
    if raised:
        lines = str(last).strip().splitlines() or [""]
        return f"a worker of the cluster failed: {type(last).__name__}: {lines[-1]}"
    return (
        f"the cluster has given up, because workers were lost again and again, killed or out of memory "
        f"({type(error).__name__}): give the same command again then"
    )


class Worker:
    """A worker of Ray Data: gets ready once, then writes shard after shard."""

    def __init__(self, work: Work) -> None:
        self.work = work
        work.load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        pairs = zip(batch["path"], batch["pictures"], strict=True)
        return batch | {
            "errors": [write_shard(Shard(str(p), tuple(json.loads(q))), self.work).errors for p, q in pairs]
        }


def escaped(text: str) -> str:
    """A text that parquet takes: names of files that are no Unicode are written with their bytes, as \\udcff."""
    return text.encode(errors="backslashreplace").decode()


def parquet() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet; MissingExtra with the command that installs them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "embed", "writing parquet files") from error
    return pyarrow, pyarrow.parquet
