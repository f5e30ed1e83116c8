"""What a sweep shows while it works: a live table on a terminal, a line per run elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlprompt.plain_text import printable, rich_console
from vlprompt.protocols import declared
from vlprompt.sweeps.grid_cells import Cell
from vlprompt.training.progress_bar import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vlprompt.sweeps.local_workers import Job

MOST_ROWS = 16


class Display:
    """`with Display(cells) as tell`: give it to `sweep`. quiet: shows nothing."""

    def __init__(self, cells: Sequence[Cell], *, quiet: bool = False, terminal: bool | None = None) -> None:
        self.cells = cells
        self.quiet = quiet
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.counts = {"done": 0, "failed": 0, "here": 0}
        self.at_once = 1
        self.began = time.monotonic()
        self.running: dict[str, tuple[Job, float, str]] = {}  # when it began, and what it is doing
        self.seconds: dict[str, list[float]] = {}  # by method, of the runs done here
        self.finished: set[str] = set()
        self._live: Any = None

    def __enter__(self) -> Display:
        if self.terminal and not self.quiet:
            from rich.live import Live

            self._live = Live(
                get_renderable=self.table,
                console=rich_console(stderr=True),
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: str, job: Job, record: dict[str, Any]) -> None:
        """What `sweep` tells."""
        if event == "plan":
            self.counts |= {"done": record["done"], "failed": record["failed"]}
            self.at_once = record["at_once"]
            left = record["runs"] - record["done"] - record["failed"]
            failed = f", {record['failed']} failed earlier" if record["failed"] else ""
            self._line(
                f"{record['runs']} runs: {record['done']} are done{failed}, {left} to do, {self.at_once} at a time"
            )
        elif event == "start":
            self.running[job.key] = job, time.monotonic(), "starting"
        elif event == "progress" and job.key in self.running:
            what = doing(record)
            if what:
                self.running[job.key] = (*self.running[job.key][:2], what)
        elif event in ("done", "failed", "warm"):
            self._end(event, job, record)

    def _end(self, event: str, job: Job, record: dict[str, Any]) -> None:
        took = time.monotonic() - self.running.pop(job.key, (job, time.monotonic(), ""))[1]
        if isinstance(job, Cell):
            self.counts[event] += 1
            self.counts["here"] += 1
            self.seconds.setdefault(job.method, []).append(took)
            self.finished.add(job.key)
        count = f"{self.counts['done'] + self.counts['failed']}/{len(self.cells)}"
        if event == "failed" or record.get("error"):
            self._line(f"{count}  {job.title}: failed: {record['error']}")
        elif event == "warm":
            self._line(f"{job.title}: {duration(took)}")
        elif self._live is None:
            self._line(f"{count}  {job.title}: {result(record)}  {duration(took)}, {self.left()}")

    def _line(self, text: str) -> None:
        if self.quiet:
            return
        if self._live is not None:
            from rich.markup import escape

            self._live.console.print(escape(text), highlight=False, soft_wrap=True)
        else:
            print(printable(text), file=sys.stderr, flush=True)

    def left(self) -> str:
        """How long what is left will take, from the mean time of the methods' runs."""
        every = [s for times in self.seconds.values() for s in times]
        if not every:
            return "time left unknown"
        mean = sum(every) / len(every)
        means = {method: sum(times) / len(times) for method, times in self.seconds.items()}
        known = len(self.cells) - self.counts["done"] - self.counts["failed"]
        todo = [cell for cell in self.cells if cell.key not in self.finished]
        expected = sum(means.get(cell.method, mean) for cell in todo) * known / max(1, len(todo))
        return f"{duration(expected / self.at_once)} left"

    def table(self) -> RenderableType:
        """Counts, speed and time left, and a row for each run under way."""
        from rich.table import Table

        gone = time.monotonic() - self.began
        speed = f"{3600 * self.counts['here'] / gone:.0f} runs/h" if self.counts["here"] else ""
        title = f"{self.counts['done']} of {len(self.cells)} runs, {self.counts['failed']} failed  {speed}  {self.left()}"
        table = Table(title=title, title_justify="left", expand=False)
        for name in ("protocol", "data", "method", "shots", "seed", "state", "time"):
            table.add_column(name, justify="right" if name in ("shots", "seed", "time") else "left")
        for job, began, what in list(self.running.values())[:MOST_ROWS]:
            time_ = duration(time.monotonic() - began)
            if isinstance(job, Cell):
                table.add_row(
                    job.protocol, job.data.name, job.method, str(job.shots), str(job.seed), what, time_
                )
            else:
                table.add_row("", job.data.name, "features in common", "", "", what, time_)
        if len(self.running) > MOST_ROWS:
            table.add_row(f"and {len(self.running) - MOST_ROWS} more")
        return table


def doing(record: dict[str, Any]) -> str:
    """What a run is at, from a record of progress; "" if it says nothing of that."""
    if record.get("event") == "encoding" and record["total"]:
        speed = f", {record['images_per_s']:.0f}/s" if "images_per_s" in record else ""
        return f"{record['what']} {record['done']}/{record['total']}{speed}"
    if record.get("event") == "step":
        return f"epoch {record['epoch']} step {record['step']}, {record['images_per_s']:.0f}/s, {duration(record['eta'])} left"
    return ""


def result(record: dict[str, Any]) -> str:
    """The value of a record that says most."""
    name = declared(record.get("protocol", "")).main
    if isinstance(record.get(name), (int, float)):
        return f"{name.replace('_', ' ')} {record[name]:.2f} %"
    return "done"
