"""Workers of a Ray cluster: one task per run, image features once in the object store, results at the driver.

A task that is lost with its node or process is done again by Ray. The driver alone writes results, one per
task, so none is there twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vlprompt.errors import OptionError
from vlprompt.ray_cluster import connect
from vlprompt.sweeps.feature_packs import Pack
from vlprompt.sweeps.grid_cells import Cell, Warm
from vlprompt.sweeps.job import Result, perform
from vlprompt.sweeps.local_workers import Job

RETRIES = 5  # of a task whose worker is lost
AHEAD = 2  # tasks beyond what the cluster can do at once, so that no node waits for the driver


class RayWorkers:
    """cpus, gpus: what one run takes of the cluster."""

    sends_features = True

    def __init__(self, address: str, *, cpus: float = 1, gpus: float = 0) -> None:
        self.ray = connect(address)
        self.cpus, self.gpus = cpus, gpus
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": RETRIES}
        self._run = self.ray.remote(_run).options(**options)
        self._warm = self.ray.remote(_warm).options(num_returns=2, **options)
        self._packs: dict[str, Any] = {}  # name of a data set -> reference to its features
        self._running: dict[Any, tuple[Job, Any]] = {}
        self._asked = 0.0
        self._slots = 0
        if not self.count:
            raise OptionError(
                f"no node of the cluster has the {cpus:g} CPUs and {gpus:g} GPUs that a run takes"
            )

    @property
    def count(self) -> int:
        """Runs at a time; nodes come and go, so the cluster is asked now and then."""
        if time.monotonic() - self._asked > 2 or not self._asked:
            self._asked = time.monotonic()
            nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
            self._slots = sum(self._fits(node) for node in nodes)
        return self._slots

    def _fits(self, node: dict[str, float]) -> int:
        parts = [
            node.get(name, 0) / each for name, each in (("CPU", self.cpus), ("GPU", self.gpus)) if each > 0
        ]
        return int(min(parts, default=1))

    def free(self) -> bool:
        return len(self._running) < self.count + AHEAD

    def submit(self, job: Job) -> None:
        """Gives the cluster a task; a run gets references to features, which Ray brings to its node."""
        threads = max(1, int(self.cpus))
        if isinstance(job, Warm):
            status, pack = self._warm.remote(job.located(), threads)
            self._running[status] = job, pack
            return
        packs = {s.name: self._packs[s.name] for s in (job.data, *job.targets) if s.name in self._packs}
        folder = None if job.folder is None else str(job.folder.resolve())
        elsewhere = replace(job.located(), runs=None)
        reference = self._run.remote(elsewhere, folder, threads, list(packs), *packs.values())
        self._running[reference] = job, None

    def finished(self, seconds: float) -> Iterator[tuple[Job, Result]]:
        """Results that have arrived; what Ray has given up after its retries is a failed run."""
        if not self._running:
            time.sleep(seconds)
            return
        ready, _ = self.ray.wait(list(self._running), num_returns=1, timeout=seconds)
        for reference in ready:
            job, pack = self._running.pop(reference)
            try:
                result = Result(**self.ray.get(reference))
            except self.ray.exceptions.RayError as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                result = Result(error=f"lost by the cluster: {lines[0]}")
            if isinstance(job, Warm) and result.error is None:
                self._packs[job.data.name] = pack
            yield job, result

    def close(self) -> None:
        """Leaves the cluster as it is; tasks that are still under way are given up."""
        for reference in self._running:
            self.ray.cancel(reference, force=True)
        self._running.clear()


def _run(cell: Cell, folder: str | None, threads: int, names: list[str], *packs: Pack) -> dict[str, Any]:
    """The task of one run, on a worker of the cluster. folder: of the run, as the driver has named it."""
    import torch

    torch.set_num_threads(threads)
    result = perform(cell, packs=dict(zip(names, packs, strict=True)), folder=folder)
    return {"value": result.value, "error": result.error}


def _warm(job: Warm, threads: int) -> tuple[dict[str, Any], Pack | None]:
    """The task that encodes what the runs on one data set have in common."""
    import torch

    torch.set_num_threads(threads)
    result = perform(job, packs={})
    return {"error": result.error}, result.value
