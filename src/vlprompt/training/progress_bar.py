"""Progress on the terminal, from the first second: a thin rich wrapper around the loop's records."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from vlprompt.plain_text import rich_console


def duration(seconds: float) -> str:
    """`4 s`, `3:20 min`, `1:05 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def skipped_line(record: dict[str, Any]) -> str:
    """A picture that cannot be read, and why; the reason mostly begins with its path."""
    path, reason = record["path"], record["reason"]
    return f"skipped {reason}" if reason.startswith(f"{path}: ") else f"skipped {path}: {reason}"


class ProgressBar:
    """A callable for `on_record`: bars for encoding and training, messages above them.

    with ProgressBar() as bar: fit(..., on_record=bar)
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or rich_console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._skipped = 0

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._skipped > 3:
            self.console.print(f"{self._skipped} pictures skipped in all")
        self._progress.stop()

    def __call__(self, record: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{record['event']}", None)
        if handler is not None:
            handler(record)

    def _bar(self, key: str, title: str, total: int) -> TaskID:
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(title, total=total, note="")
        return self._tasks[key]

    def _on_message(self, record: dict[str, Any]) -> None:
        self.console.print(escape(record["text"]), highlight=False)

    def _on_skipped(self, record: dict[str, Any]) -> None:
        self._skipped += 1
        if self._skipped <= 3:
            self.console.print(escape(skipped_line(record)), highlight=False)

    def _on_encoding(self, record: dict[str, Any]) -> None:
        if not record["total"]:
            return
        task = self._bar(record["what"], escape(record["what"]), record["total"])
        note = f"{record['images_per_s']:.0f} images/s" if record["done"] and "images_per_s" in record else ""
        self._progress.update(task, completed=record["done"], note=note)

    def _on_training(self, record: dict[str, Any]) -> None:
        self._tasks.pop("steps", None)
        self._total, self._steps = record["epochs"] * record["steps"], record["steps"]
        text = f"training: {record['epochs']} epochs of {record['steps']} steps, batch {record['batch']}, "
        self.console.print(text + f"{record['parameters']} learned numbers", highlight=False)
        self._bar("steps", "training", self._total)

    def _on_step(self, record: dict[str, Any]) -> None:
        note = (
            f"loss {record['loss']:.3f}  accuracy {record['accuracy']:.0f} %  "
            f"{record['images_per_s']:.0f} images/s  {duration(record['eta'])} left"
        )
        done = (record["epoch"] - 1) * self._steps + record["step"]
        self._progress.update(self._tasks["steps"], completed=done, note=note)
