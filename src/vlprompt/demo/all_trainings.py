"""run_demo: all jobs on all cores, one thread each; then the table, the pictures and the page."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from vlprompt.demo import demo_settings as settings
from vlprompt.demo.one_training import Job, Place, backbone_and_data, cores, set_up, work
from vlprompt.errors import TrainingError
from vlprompt.feeding.feature_cache import default_directory
from vlprompt.plain_text import rich_console
from vlprompt.runs.records import append

MOST_WORKERS = 8


def run_demo(
    out: str | Path = "demo",
    backbone: str = "embedded",
    *,
    quiet: bool = False,
    methods: Sequence[str] = settings.METHODS,
    data: str = "demo",
    shots: int = settings.SHOTS,
    workers: int | None = None,
    precision: str | None = None,
) -> dict[str, Any]:
    """Trains and scores everything, and writes into `out`: results.jsonl, curves.png, accuracy.png,
    confusion.png, report.html and a run folder for every method and seed.

    Returns {"records", "titles", "order", "shots", "page", "seconds", "workers", "precision"}. workers: processes; as many
    as there are cores if None. precision: of the frozen towers; bf16 where the processor has units for it if None.
    """
    from vlprompt.backbones.loading import quick_precision
    from vlprompt.demo.demo_page import titles_of, write_pages

    began = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _cache(folder) as cache:
        shown = settings.SHOWN if settings.SHOWN in methods else methods[-1]
        place = Place(backbone, folder, cache, data, shots, shown, precision or quick_precision())
        backbone_and_data(place)  # a missing backbone or damaged data end the demo here
        number = workers or min(cores(), MOST_WORKERS)
        done = list(_progress(jobs_of(place, methods, number), number, quiet))
    results = folder / "results.jsonl"
    results.unlink(missing_ok=True)
    for _, found in done:
        append(results, found["record"])
    seconds = time.perf_counter() - began
    page = write_pages(folder, place, done, seconds, number)
    return {
        "records": [found["record"] for _, found in done],
        "titles": titles_of(done),
        "order": list(methods),
        "shots": shots,
        "page": page,
        "seconds": seconds,
        "workers": number,
        "precision": place.precision,
    }


@contextmanager
def _cache(out: Path) -> Iterator[Path]:
    """The usual cache of features, or one for this demo only where there is none."""
    usual = default_directory()
    if usual is not None:
        yield usual
        return
    with tempfile.TemporaryDirectory(prefix="cache-", dir=out) as folder:
        yield Path(folder)


def jobs_of(place: Place, methods: Sequence[str], workers: int) -> list[list[Job]]:
    """Two rounds: pictures are encoded, each once; then everything is trained, the longest jobs first."""
    encoding = [
        Job("encode", split, i, place, workers) for split in ("train", "test") for i in range(workers)
    ]
    training = [
        Job(kind, method, seed, place)
        for kind in ("few_shot", "base_to_new")
        for method in methods
        if settings.takes_part(method, kind)
        for seed in settings.SEEDS[method]
    ]
    return [encoding, sorted(training, key=lambda job: -job.cost)]


def _progress(rounds: list[list[Job]], workers: int, quiet: bool) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Runs the jobs and yields the trainings as they end, with a bar on stderr."""
    console = rich_console(stderr=True, quiet=quiet)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        TimeElapsedColumn(),
        console=console,
        disable=quiet,
    )
    with bar, _pool(workers) as pool:
        for title, jobs in zip(("encoding pictures", "training"), rounds, strict=True):
            task = bar.add_task(title, total=sum(job.cost for job in jobs))
            for job, found in _as_done(pool, jobs):
                bar.advance(task, job.cost)
                if job.kind != "encode":
                    console.print(line(found["record"]), highlight=False)
                    yield job, found


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes with one thread each; none of them outlives an interruption."""
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=set_up, initargs=(1,)
    )
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()


def _as_done(pool: ProcessPoolExecutor, jobs: Sequence[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
    waiting: dict[Future[dict[str, Any]], Job] = {pool.submit(work, job): job for job in jobs}
    try:
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool as error:
        raise TrainingError(
            "a process of the demo was ended from outside: is there enough memory?"
        ) from error


def line(record: dict[str, Any]) -> str:
    """What one training gave, in words."""
    who = f"{record['method']}, seed {record['seed']}"
    if record["protocol"] == "few_shot":
        what = f"{record['accuracy']:.1f} % (zero-shot {record['zero_shot']:.1f} %)"
    else:
        what = f"base {record['base']:.1f} %, new {record['new']:.1f} %, HM {record['harmonic_mean']:.1f} %"
    return f"{who}: {what}, {record['seconds']:.0f} s of training"
