"""Progress where nobody sees a bar move: lines in a file or a pipe, not more than one every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

from vlprompt.training.progress_bar import duration, skipped_line

EVERY = 5.0  # seconds between two lines of one job
SHOWN = 3  # skipped pictures that are named; the log of the run names them all


class ProgressLines:
    """A callable for `on_record`: what `ProgressBar` shows, as lines. Each job has a first and a last line.

    with ProgressLines() as lines: fit(..., on_record=lines)
    """

    def __init__(self, out: TextIO | None = None, every: float = EVERY) -> None:
        self.out = out
        self.every = every
        self._told: dict[str, float] = {}
        self._ended: set[str] = set()
        self._skipped = 0
        self._steps, self._total = 1, 1

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._skipped > SHOWN:
            self._say(f"{self._skipped} pictures skipped in all")

    def __call__(self, record: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{record['event']}", None)
        if handler is not None:
            handler(record)

    def _say(self, text: str) -> None:
        print(text, file=self.out or sys.stderr, flush=True)

    def _now(self, job: str, last: bool) -> bool:
        """Whether it is time for a line of a job: at its end, and every few seconds."""
        now = time.monotonic()
        if last and job in self._ended:  # told already
            return False
        (self._ended.add if last else self._ended.discard)(job)
        if last or now - self._told.setdefault(job, now) >= self.every:
            self._told[job] = now
            return True
        return False

    def _on_message(self, record: dict[str, Any]) -> None:
        self._say(record["text"])

    def _on_skipped(self, record: dict[str, Any]) -> None:
        self._skipped += 1
        if self._skipped <= SHOWN:
            self._say(skipped_line(record))

    def _on_encoding(self, record: dict[str, Any]) -> None:
        done, total = record["done"], record["total"]
        if total and self._now(record["what"], done >= total):
            speed = f", {record['images_per_s']:.0f} images/s" if "images_per_s" in record else ""
            self._say(f"{record['what']}: {done} of {total}{speed}")

    def _on_training(self, record: dict[str, Any]) -> None:
        self._steps, self._total = record["steps"], record["epochs"] * record["steps"]
        self._told.pop("steps", None)
        self._say(
            f"training: {record['epochs']} epochs of {record['steps']} steps, batch {record['batch']}, "
            f"{record['parameters']} learned numbers"
        )

    def _on_step(self, record: dict[str, Any]) -> None:
        done = (record["epoch"] - 1) * self._steps + record["step"]
        if self._now("steps", done >= self._total):
            self._say(
                f"training: {done} of {self._total}, loss {record['loss']:.3f}, accuracy "
                f"{record['accuracy']:.0f} %, {record['images_per_s']:.0f} images/s, {duration(record['eta'])} left"
            )
