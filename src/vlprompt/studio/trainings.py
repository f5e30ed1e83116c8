"""One training at a time: the others wait in a queue, in the order in which they were asked for."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Literal

from vlprompt.errors import OptionError, VlpromptError

State = Literal["waiting", "running", "done", "failed", "stopped"]


class Stopped(Exception):
    """Raised inside a training that its owner has stopped."""


class Job:
    """One training. work: called with the job, in the queue's own thread; its result is `result`.

    owner: the session. error: one line for people, once it has failed.
    """

    def __init__(self, owner: str, work: Callable[[Job], Any]) -> None:
        self.owner, self.error = owner, ""
        self.result: Any = None
        self.state: State = "waiting"
        self.records: list[dict[str, Any]] = []  # of epochs, for the curve
        self.latest: dict[str, Any] = {}
        self.extent: dict[str, Any] = {}  # its "training" record: epochs, steps of an epoch
        self._work = work
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._after: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        return self._ended.is_set()

    def stop(self) -> None:
        """Asks it to end; it does so with its next record."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until it is over; whether it is."""
        return self._ended.wait(seconds)

    def when_over(self, then: Callable[[], None]) -> None:
        """Calls `then` once the job is over; at once if it is already."""
        with self._lock:
            if not self.over:
                self._after.append(then)
                return
        then()

    def report(self, record: dict[str, Any]) -> None:
        """Takes what the training tells of itself. Raises Stopped if the job was asked to stop."""
        if self._stop.is_set():
            raise Stopped
        if record["event"] == "epoch":
            self.records.append(record)
        if record["event"] == "training":
            self.extent = record
        if record["event"] in ("epoch", "step", "encoding"):
            self.latest = record

    def _run(self) -> None:
        try:
            if self._stop.is_set():
                raise Stopped
            self.state = "running"
            self.result = self._work(self)
            self._end("done")
        except Stopped:
            self._end("stopped")
        except VlpromptError as error:
            self.error = " ".join(str(error).split())
            self._end("failed")
        except Exception as error:  # the queue lives on, whatever one training does
            traceback.print_exc()
            self.error = f"something went wrong ({type(error).__name__}); the program's window says more"
            self._end("failed")

    def _end(self, state: State) -> None:
        with self._lock:
            self.state = state
            self._ended.set()
        for then in self._after:
            then()


class Trainings:
    """The queue. most: trainings that may wait."""

    def __init__(self, most: int = 20) -> None:
        self.most = most
        self._jobs: list[Job] = []  # the first is running
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, owner: str, work: Callable[[Job], Any]) -> Job:
        """Puts a training at the end of the queue. OptionError when it is full, or the owner has one there."""
        with self._changed:
            if any(job.owner == owner for job in self._jobs):
                raise OptionError("it is learning already: wait until it is done, or stop it")
            if self._closed or len(self._jobs) > self.most:
                raise OptionError("too many trainings are waiting: try again later")
            job = Job(owner, work)
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="vlprompt training", daemon=True)
                self._thread.start()
            self._changed.notify()
        return job

    def ahead(self, job: Job) -> int:
        """How many trainings come before it, the running one included."""
        with self._changed:
            return self._jobs.index(job) if job in self._jobs else 0

    def stop(self, owner: str) -> Job | None:
        """Stops the owner's training, if there is one; waiting ones end at once."""
        with self._changed:
            job = next((job for job in self._jobs if job.owner == owner), None)
            if job is None:
                return None
            job.stop()
            waiting = job is not self._jobs[0]
            if waiting:
                self._jobs.remove(job)
        if waiting:
            job._run()  # ends as stopped
        return job

    def close(self, seconds: float = 10.0) -> None:
        """Stops everything and waits for the running training."""
        with self._changed:
            self._closed = True
            owners = [job.owner for job in reversed(self._jobs)]
            self._changed.notify()
        for owner in owners:
            self.stop(owner)
        if self._thread is not None:
            until = time.monotonic() + seconds
            self._thread.join(max(0.0, until - time.monotonic()))

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    if self._closed:
                        return
                    self._changed.wait()
                job = self._jobs[0]
            job._run()
            with self._changed:
                self._jobs.remove(job)
