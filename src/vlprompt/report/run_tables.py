"""Tables of a run: beside zero-shot, and class by class; and rows of a protocol's records.

Tables of several methods and data sets are made in `vlprompt.report.comparison` and `sheets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlprompt.report.gathering import Cell as Cell
from vlprompt.report.gathering import cells, gather

if TYPE_CHECKING:
    from rich.table import Table

    from vlprompt.runs.info import RunInfo, ScoreInfo


@dataclass(frozen=True)
class Row:
    """One method under one protocol on one data set. values: by their names in the records."""

    protocol: str
    data: str
    backbone: str
    shots: int
    method: str
    seeds: int
    values: dict[str, Cell]


def rows_of(records: Iterable[dict[str, Any]]) -> list[Row]:
    """Records of single seeds as rows; a zero-shot row stands before the methods it is the reference of."""
    return [Row(*key, len(seeds), cells(seeds)) for key, seeds in gather(records).items()]


def run_table(info: RunInfo) -> Table:
    """Zero-shot beside what was learned, from run.json."""
    reported = info.reported
    scores = info.scores
    split = f"{info.data.name}, {reported}" if reported else f"{info.data.name}: nothing to score on"
    return scores_table(split, info.method, scores.get(reported or ""), scores.get("zero_shot"))


def cost_line(info: RunInfo) -> str:
    """Seconds and learned numbers of a run, from run.json."""
    timings = info.timings
    learned = f"{info.parameters:,}".replace(",", " ")
    return f"{timings.get('train_s', 0):.1f} s training, {timings.get('total_s', 0):.1f} s in all, {learned} learned numbers"


def scores_table(title: str, method: str, learned: ScoreInfo | None, zero_shot: ScoreInfo | None) -> Table:
    """Accuracy and macro F1 of both, and what learning changed."""
    header = ["", "accuracy", "macro F1", "pictures"]
    body = []
    for name, scores in (("zero-shot", zero_shot), (method, learned)):
        if scores is not None:
            body.append([name, f"{scores.accuracy:.2f} %", f"{scores.macro_f1:.2f} %", str(scores.count)])
    if learned is not None and zero_shot is not None and method != "zeroshot":
        change = [
            f"{getattr(learned, key) - getattr(zero_shot, key):+.2f}" for key in ("accuracy", "macro_f1")
        ]
        body.append(["change", *change, ""])
    return plain_table(title, header, body, bold=0)


def class_table(learned: ScoreInfo, zero_shot: ScoreInfo | None) -> Table:
    """Every class: pictures, accuracy beside zero-shot, precision, F1."""
    before = {row.name: row for row in zero_shot.classes} if zero_shot is not None else {}
    header = ["class", "pictures", *(["zero-shot"] if before else []), "accuracy", "precision", "F1"]
    body = []
    for row in learned.classes:
        reference = before.get(row.name)
        body.append(
            [
                row.name,
                str(row.count),
                *([f"{reference.accuracy:.1f}" if reference else ""] if before else []),
                *(
                    (f"{getattr(row, key):.1f}" if row.count else "")
                    for key in ("accuracy", "precision", "f1")
                ),
            ]
        )
    return plain_table("every class, per cent", header, body)


def plain_table(
    title: str, header: Sequence[str], body: Sequence[Sequence[str]], bold: int | None = None
) -> Table:
    """Text for the terminal: words to the left, numbers to the right. bold: a column that stands out."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    words = ("", "method", "protocol", "data", "backbone", "class", "value", "same direction")
    for i, name in enumerate(header):
        table.add_column(
            name, justify="left" if name in words else "right", style="bold" if i == bold else None
        )
    for line in body:
        table.add_row(*map(escape, line))
    return table
