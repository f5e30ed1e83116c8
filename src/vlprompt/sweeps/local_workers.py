"""Workers of one machine: this process, or several that are started for the sweep."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from vlprompt.sweeps.grid_cells import Cell, Warm
from vlprompt.sweeps.job import OnRecord, Result, perform

Job = Cell | Warm
ATTEMPTS = 2  # of a run whose worker dies
OFTEN = 0.5  # seconds between two records of progress that a worker sends


class Workers(Protocol):
    """What does the jobs of a sweep. count: how many at a time. sends_features: to each run, with no disk cache."""

    @property
    def count(self) -> int: ...

    @property
    def sends_features(self) -> bool: ...

    def free(self) -> bool:
        """Whether another job may be given."""
        ...

    def submit(self, job: Job) -> None: ...

    def finished(self, seconds: float) -> Iterator[tuple[Job, Result]]:
        """Jobs that are done, after waiting some seconds for one at most."""
        ...

    def close(self) -> None: ...


class Here:
    """One job at a time in this process. tell(job, record): progress."""

    sends_features = False

    def __init__(self, tell: Any) -> None:
        self.count, self.tell = 1, tell
        self._job: Job | None = None

    def free(self) -> bool:
        return self._job is None

    def submit(self, job: Job) -> None:
        self._job = job

    def finished(self, seconds: float) -> Iterator[tuple[Job, Result]]:
        """Does the job that waits."""
        job, self._job = self._job, None
        if job is None:
            time.sleep(seconds)
        else:
            yield job, perform(job, lambda record: self.tell(job, record))

    def close(self) -> None:
        pass


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: Job | None = None


@dataclass
class Processes:
    """count processes with their own backbone and a part of the threads each.

    A job whose worker dies (memory, signal) is done once more by a new one, then given up.
    """

    count: int
    tell: Any
    sends_features: bool = False
    attempts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker | None] = [None] * self.count

    def free(self) -> bool:
        return any(worker is None or worker.job is None for worker in self._workers)

    def submit(self, job: Job) -> None:
        number = next(i for i, worker in enumerate(self._workers) if worker is None or worker.job is None)
        worker = self._workers[number]
        self.attempts[job.key] = self.attempts.get(job.key, 0) + 1
        if worker is not None:
            try:
                worker.pipe.send(job)
            except OSError:  # it was killed while it had nothing to do
                worker.process.join()
                worker.pipe.close()
                worker = None
        if worker is None:
            worker = self._workers[number] = self._start(number)
            worker.pipe.send(job)
        worker.job = job

    def finished(self, seconds: float) -> Iterator[tuple[Job, Result]]:
        """What arrives from the workers, and what died with one."""
        busy = {w.pipe: (i, w) for i, w in enumerate(self._workers) if w is not None and w.job is not None}
        if not busy:
            time.sleep(seconds)
            return
        for pipe in wait(list(busy), timeout=seconds):
            number, worker = busy[pipe]  # type: ignore[index]
            job = worker.job
            assert job is not None
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                worker.pipe.close()
                self._workers[number] = None
                if self.attempts[job.key] < ATTEMPTS:
                    self.submit(job)
                else:
                    yield (
                        job,
                        Result(
                            error=f"its worker process died {ATTEMPTS} times ({_end(worker.process.exitcode)})"
                        ),
                    )
                continue
            if isinstance(message, Result):
                worker.job = None
                yield job, message
            else:
                self.tell(job, message)

    def close(self) -> None:
        for worker in self._workers:
            if worker is not None:
                worker.process.terminate()
                worker.process.join()
                worker.pipe.close()

    def _start(self, number: int) -> _Worker:
        threads = max(1, int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1) // self.count)
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when the new process imports torch
        try:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=serve, args=(theirs, number, threads), daemon=True)
            process.start()
            theirs.close()
        finally:
            if before is None:
                del os.environ["OMP_NUM_THREADS"]
            else:
                os.environ["OMP_NUM_THREADS"] = before
        return _Worker(process, ours)


def serve(pipe: Connection, number: int, threads: int) -> None:
    """A worker process: does what comes through the pipe until it closes, or until its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends its workers
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    import torch

    from vlprompt.sweeps import job as running

    torch.set_num_threads(threads)
    running.WORKER = number
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(perform(job, seldom(pipe.send)))


def seldom(send: Any) -> OnRecord:
    """Passes on progress of encoding and training a few times a second, nothing else."""
    last = [0.0]

    def emit(record: dict[str, Any]) -> None:
        if record["event"] not in ("encoding", "step") or time.monotonic() - last[0] < OFTEN:
            return
        last[0] = time.monotonic()
        send(record)

    return emit


def _end(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
