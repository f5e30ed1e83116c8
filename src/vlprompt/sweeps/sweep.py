"""sweep: a grid, run by run, into one results file; the whole story on one page.

grid -> what is not done -> features in common -> runs -> a line each
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlprompt.backbones.loading import choose_device, choose_precision
from vlprompt.backbones.locating import hub_name
from vlprompt.errors import OptionError
from vlprompt.sweeps.grid_cells import Cell, Warm
from vlprompt.sweeps.job import Result, warm_jobs
from vlprompt.sweeps.ledger import Ledger
from vlprompt.sweeps.local_workers import Here, Job, Processes, Workers
from vlprompt.sweeps.sweep_file import Sweep, make_sweep, read_sweep

WAIT = 0.5  # seconds between two looks at what other sweeps have done

Tell = Callable[[str, Job, dict[str, Any]], None]


@dataclass
class Outcome:
    """records: of all runs of the grid that are done, in its order. failed: run -> why it is not. earlier: those of
    them that failed in an earlier sweep and were not tried again. now: runs that this call has done. before: those that were there. elsewhere: by other sweeps meanwhile."""

    records: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[Cell, str] = field(default_factory=dict)
    earlier: set[Cell] = field(default_factory=set)
    now: int = 0
    before: int = 0
    elsewhere: int = 0


def sweep(
    grid: str | Path | dict[str, Any] | Sweep,
    *,
    out: str | Path | None = None,
    jobs: int = 1,
    retry_failed: bool = False,
    ray: str | None = None,
    cpus: float = 1,
    gpus: float = 0,
    tell: Tell | None = None,
) -> Outcome:
    """Does all runs of a grid that are not done; see `vlprompt.sweeps.sweep_file` for the file.

    out: results file, instead of the grid's. jobs: processes on this machine. ray: address of a Ray
    cluster, or "auto"; cpus, gpus: what a run takes of it. retry_failed: also what failed in earlier calls.
    tell(event, job, record): "plan" and "here" (nothing but numbers), "start", "progress", "done", "failed".

    OptionError before the first run for whatever is wrong in the grid or lacks on this machine.
    """
    if not isinstance(grid, Sweep):
        grid = make_sweep(grid) if isinstance(grid, dict) else read_sweep(grid)
    if jobs < 1:
        raise OptionError(f"jobs is {jobs}: expected at least 1")
    told: Tell = tell or (lambda event, job, record: None)
    with Ledger(Path(out) if out is not None else grid.out) as ledger:
        before = {cell.key for cell in grid.cells if cell.key in ledger.done}
        skipped = set() if retry_failed else set(ledger.failed)
        todo = [cell for cell in grid.cells if cell.key not in before | skipped]
        check_here(todo, elsewhere=ray is not None)
        outcome = Outcome(before=len(before))
        plan = {
            "runs": len(grid.cells),
            "done": len(before),
            "failed": len(grid.cells) - len(todo) - len(before),
        }
        if todo:
            workers = make_workers(jobs, ray, cpus, gpus, lambda job, record: told("progress", job, record))
            try:
                told("plan", todo[0], plan | {"at_once": workers.count})
                _work(workers, ledger, grid, todo, retry_failed, outcome, told)
            finally:
                workers.close()
        outcome.records = [ledger.done[cell.key] for cell in grid.cells if cell.key in ledger.done]
        outcome.failed = {c: ledger.failed[c.key]["error"] for c in grid.cells if c.key in ledger.failed}
        outcome.earlier = {cell for cell in outcome.failed if cell.key in skipped}
        outcome.elsewhere = len(outcome.records) - outcome.before - outcome.now
    return outcome


def check_here(cells: Iterable[Cell], *, elsewhere: bool = False) -> None:
    """OptionError for what the runs need and this machine lacks: pictures, the backbone, the device, its precision.

    A backbone of the hub is not fetched for it. elsewhere: the runs take place on other machines, of which only the
    pictures are expected under the same path here.
    """
    held = list(cells)
    for spec in dict.fromkeys(spec for cell in held for spec in (cell.data, *cell.targets)):
        if spec.missing is not None:
            raise OptionError(f"data {spec.name}: {spec.missing}: there is no such file or folder")
    for setup in () if elsewhere else dict.fromkeys(cell.setup for cell in held):
        if setup.backbone != "embedded" and not Path(setup.backbone).expanduser().exists():
            hub_name(setup.backbone)
        if setup.tokenizer is not None and not Path(setup.tokenizer).exists():
            raise OptionError(f"tokenizer: {setup.tokenizer}: there is no such file or folder")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a slow precision: said when the backbone is loaded
            choose_precision(setup.precision, choose_device(setup.device))


def make_workers(jobs: int, ray: str | None, cpus: float, gpus: float, tell: Any) -> Workers:
    """This process, several, or a cluster."""
    if ray is not None:
        from vlprompt.sweeps.ray_workers import RayWorkers

        return RayWorkers(ray, cpus=cpus, gpus=gpus)
    return Here(tell) if jobs == 1 else Processes(jobs, tell)


def _work(
    workers: Workers, ledger: Ledger, grid: Sweep, todo: list[Cell], retry: bool, outcome: Outcome, told: Tell
) -> None:
    """Keeps the workers busy until every run is done or has failed, here or in another sweep."""
    warm: list[Warm] = []
    if not isinstance(workers, Here):  # one process meets the cache of its own earlier runs anyway
        warm = [job for job in warm_jobs(todo) if job.setup.cache is not False or workers.sends_features]
    waiting = list(warm)
    blocked = {job.data for job in warm}
    running = 0

    def claim() -> Cell | None:
        open_ = [c for c in todo if not blocked & {c.data, *c.targets}] if blocked else todo
        return ledger.claim(open_, retry=retry)

    while True:
        while workers.free():
            job: Job | None = waiting.pop(0) if waiting else claim()
            if job is None:
                break
            told("start", job, {})
            workers.submit(job)
            running += 1
        if not running and not blocked:
            ledger.refresh()
            known = {*ledger.done, *(() if retry else ledger.failed)}
            if all(cell.key in known or cell.key in ledger.tried for cell in todo):
                return  # else another sweep is at work on what is left: wait for it, or for its end
        for job, result in workers.finished(WAIT):
            running -= 1
            if isinstance(job, Warm):
                blocked.discard(job.data)
                told("warm", job, {"error": result.error} if result.error else {})
            else:
                _settle(ledger, job, result, outcome, told)


def _settle(ledger: Ledger, cell: Cell, result: Result, outcome: Outcome, told: Tell) -> None:
    if result.error is not None:
        ledger.fail(cell, result.error)
        told("failed", cell, {"error": result.error})
    else:
        ledger.finish(cell, result.value)
        outcome.now += 1
        told("done", cell, result.value)
