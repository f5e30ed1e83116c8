"""Tables of a run: beside zero-shot, and class by class; and rows of a protocol's records.

Tables of several methods and data sets are made in `vlprompt.report.comparison` and `sheets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlprompt.report.gathering import Cell as Cell
from vlprompt.report.gathering import cells, gather
from vlprompt.scoring.uncertainty import interval_text

if TYPE_CHECKING:
    from rich.table import Table

    from vlprompt.runs.info import ChoiceInfo, RunInfo, ScoreInfo


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
    """Zero-shot, a linear probe and what was learned, beside each other, from run.json."""
    title = (
        f"{info.data.name}, {info.reported}" if info.reported else f"{info.data.name}: nothing to score on"
    )
    return scores_table(title, info.shown_title, info.learned, info.zero_shot, info.probe)


def cost_line(info: RunInfo) -> str:
    """Seconds and learned numbers of a run, from run.json."""
    timings = info.timings
    learned = f"{info.parameters:,}".replace(",", " ")
    return (
        f"{info.data.train} pictures learned from ({info.pictures_text}); {timings.get('train_s', 0):.1f} s training, "
        f"{timings.get('total_s', 0):.1f} s in all, {learned} learned numbers"
    )


def choice_table(choice: ChoiceInfo, most: int = 8) -> Table:
    """The candidates of `--method auto`, the best first."""
    ordered = sorted(choice.candidates, key=lambda one: one.loss)
    shown = ordered[:most] + [one for one in ordered[most:] if " " not in one.name]
    body = []
    for one in shown:
        body.append(
            [
                one.name,
                f"{100 * one.hits / max(1, choice.count):.1f} %",
                f"{one.loss:.3f}",
                "yes" if one.new_names else "no",
            ]
        )
    header = ["compared", "accuracy", "loss", "takes new names"]
    title = f"compared on {choice.count} training pictures in {choice.folds} parts, the least loss first"
    return plain_table(title, header, body, bold=0)


def choice_lines(choice: ChoiceInfo) -> list[str]:
    """What was chosen and why, what that gives up, and how to have another."""
    found = [f"chosen: {choice.chosen}"]
    if choice.reason:
        found.append(choice.reason)
    if "linear_probe" in choice.chosen.split():  # not in that of a bilinear one
        found.append(
            f"a linear probe knows the classes that it was shown and no others: {choice.names} is kept beside it for "
            "further class names"
        )
    return [*found, "another: --method NAME (vlprompt methods)"]


def scores_table(
    title: str,
    method: str,
    learned: ScoreInfo | None,
    zero_shot: ScoreInfo | None,
    probe: ScoreInfo | None = None,
) -> Table:
    """Accuracy and macro F1 of all, with the interval where pictures are few, and what learning changed."""
    rows = [
        (name, found)
        for name, found in (("zero-shot", zero_shot), ("linear probe", probe), (method, learned))
        if found is not None
    ]
    unsure = any(interval_text(found.correct, found.count) for _, found in rows)
    header = ["", "accuracy", *(["95 % sure"] if unsure else []), "macro F1", "pictures"]
    body = []
    for name, found in rows:
        spread = [interval_text(found.correct, found.count, always=True)] if unsure else []
        body.append([name, f"{found.accuracy:.2f} %", *spread, f"{found.macro_f1:.2f} %", str(found.count)])
    if learned is not None and zero_shot is not None and len(rows) > 1 and rows[-1][1] is not zero_shot:
        accuracy, f1 = learned.accuracy - zero_shot.accuracy, learned.macro_f1 - zero_shot.macro_f1
        if method not in ("zeroshot", "Zero-shot CLIP"):
            body.append(["change", f"{accuracy:+.2f}", *([""] if unsure else []), f"{f1:+.2f}", ""])
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
    words = (
        "",
        "method",
        "compared",
        "95 % sure",
        "takes new names",
        "protocol",
        "data",
        "backbone",
        "class",
        "value",
        "same direction",
    )
    for i, name in enumerate(header):
        table.add_column(
            name, justify="left" if name in words else "right", style="bold" if i == bold else None
        )
    for line in body:
        table.add_row(*map(escape, line))
    return table
