"""The demo's numbers: one line per method, from the records of its trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlprompt.report.run_tables import Cell, rows_of

if TYPE_CHECKING:
    from rich.table import Table

ZERO_SHOT = "zero-shot"
LAMM_OF = {"lamm": ZERO_SHOT, "coop+lamm": "coop", "maple+lamm": "maple"}  # what each LAMM variant stands on


@dataclass(frozen=True)
class Line:
    """method: its name. values: accuracy, macro_f1, base, new, harmonic_mean, all, seconds, by name."""

    method: str
    title: str
    seeds: int
    values: dict[str, Cell]


def lines_of(records: Sequence[dict[str, Any]], titles: dict[str, str], order: Sequence[str]) -> list[Line]:
    """Zero-shot first, then the methods in the given order."""
    found: dict[str, dict[str, Cell]] = {}
    seeds: dict[str, int] = {}
    for row in rows_of(records):
        own = found.setdefault(row.method, {})
        seconds = own.get("seconds")
        own |= row.values
        if seconds is not None and "seconds" in row.values:  # both trainings count
            own["seconds"] = Cell(seconds.mean + row.values["seconds"].mean, 0.0, 1)
        seeds[row.method] = row.seeds
    names = [name for name in (ZERO_SHOT, *order) if name in found]
    return [
        Line(name, titles.get(name, name), 1 if name == ZERO_SHOT else seeds[name], found[name])
        for name in names
    ]


def verdicts(lines: Sequence[Line]) -> list[str]:
    """Whether LAMM helps on all classes, method by method, with the numbers."""
    by_name = {line.method: line for line in lines}
    said = []
    for name, under in LAMM_OF.items():
        if name not in by_name or under not in by_name:
            continue
        ours, theirs = by_name[name], by_name[under]
        a, b = ours.values["accuracy"], theirs.values["accuracy"]
        many = f"mean of {ours.seeds} seeds" if ours.seeds > 1 else "one seed: a point or two mean little"
        said.append(
            f"LAMM on {theirs.title}: {b.mean:.1f} becomes {a.mean:.1f} % ({a.mean - b.mean:+.1f}; {many})"
        )
    return said


def columns(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells: few-shot accuracy, base to new, seconds."""
    header = ["method", "seeds", "accuracy", "base", "new", "HM", "seconds"]
    body = []
    for line in lines:
        cells = [_text(line, key) for key in ("accuracy", "base", "new", "harmonic_mean")]
        seconds = f"{line.values['seconds'].mean:.1f}" if "seconds" in line.values else ""
        body.append([line.title, "" if line.method == ZERO_SHOT else str(line.seeds), *cells, seconds])
    return header, body


def _text(line: Line, key: str) -> str:
    if key not in line.values:
        return ""
    cell = line.values[key]
    return f"{cell.mean:.1f}" if line.method == ZERO_SHOT else cell.text(digits=1)


def demo_table(
    records: Sequence[dict[str, Any]],
    titles: dict[str, str],
    order: Sequence[str],
    shots: int,
    seconds: float,
    workers: int,
    precision: str = "float32",
) -> Table:
    """What the demo prints at its end."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"{shots} pictures per class; per cent, mean ± deviation over seeds",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
        caption_justify="left",
        caption=f"accuracy: trained and tested on all classes. base, new: trained on the first half of the "
        f"classes. seconds: both trainings of one seed, on one thread. {seconds:.0f} s in all on {workers} cores, "
        f"in {precision}",
    )
    header, body = columns(lines_of(records, titles, order))
    for i, name in enumerate(header):
        table.add_column(
            name,
            justify="left" if i == 0 else "right",
            style="bold" if name == "accuracy" else None,
            no_wrap=True,
        )
    for row in body:
        table.add_row(*row)
    return table
