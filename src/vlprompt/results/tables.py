"""Tables: a run beside zero-shot, its classes, and mean ± deviation over the seeds of a protocol."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlprompt.errors import OptionError, nearest

if TYPE_CHECKING:
    from rich.table import Table

Scores = dict[str, Any]  # as `Scores.to_dict` gives them
FORMATS = ("rich", "md", "csv", "latex")
# What is shown of a protocol's records; any other number in them follows under its own name.
HEADINGS = {
    "accuracy": "accuracy", "macro_f1": "macro F1", "base": "base", "new": "new", "harmonic_mean": "HM",
    "all": "all together", "seconds": "training s",
}  # fmt: skip
_HIDDEN = ("seed", "shots", "count", "total_seconds")


@dataclass(frozen=True)
class Cell:
    """Mean and sample deviation of a value over n seeds; std is 0 for one."""

    mean: float
    std: float
    n: int

    def text(self, plus_minus: str = " ± ", digits: int = 2) -> str:
        if self.n < 2:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f}{plus_minus}{self.std:.{digits}f}"


@dataclass(frozen=True)
class Row:
    """One method under one protocol on one data set. values: by the names of HEADINGS."""

    protocol: str
    data: str
    backbone: str
    shots: int
    method: str
    seeds: int
    values: dict[str, Cell]


def rows_of(records: Iterable[dict[str, Any]]) -> list[Row]:
    """Records of single seeds as rows; a zero-shot row stands before the methods it is the reference of.

    A seed recorded twice counts once, the later record being taken.
    """
    groups: dict[tuple[Any, ...], dict[str, dict[Any, dict[str, float]]]] = {}
    for record in records:
        key = (record["protocol"], record.get("data", ""), record.get("backbone", ""), record.get("shots", 0))
        methods = groups.setdefault(key, {})
        reference = record.get("zero_shot")
        if isinstance(reference, (int, float)):
            reference = {"accuracy": reference}
        seed = record.get("seed")
        if isinstance(reference, dict):
            methods.setdefault("zero-shot", {})[seed] = _numbers(reference)
        if record["method"] != "zeroshot" or reference is None:
            methods.setdefault(record["method"], {})[seed] = _numbers(record)
    found = []
    for (protocol, data, backbone, shots), methods in groups.items():
        for name, seeds in methods.items():
            found.append(Row(protocol, data, backbone, shots, name, len(seeds), _cells(list(seeds.values()))))
    return found


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    return {
        key: float(value) for key, value in record.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and key not in (*_HIDDEN, "zero_shot")
    }  # fmt: skip


def _cells(seeds: Sequence[dict[str, float]]) -> dict[str, Cell]:
    cells = {}
    for key in dict.fromkeys(key for values in seeds for key in values):
        values = [seed[key] for seed in seeds if key in seed]
        mean = sum(values) / len(values)
        spread = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
        cells[key] = Cell(mean, spread**0.5, len(values))
    return cells


def grid(rows: Sequence[Row], plus_minus: str = " ± ") -> tuple[list[str], list[list[str]]]:
    """Headings and cells of one table for all rows; columns that never differ are left out."""
    facts = [
        name for name in ("protocol", "data", "backbone", "shots")
        if len({getattr(row, name) for row in rows}) > 1
    ]  # fmt: skip
    keys = list(dict.fromkeys(key for row in rows for key in row.values))
    keys.sort(key=lambda key: list(HEADINGS).index(key) if key in HEADINGS else len(HEADINGS))
    header = [*facts, "method", "seeds", *(HEADINGS.get(key, key.replace("_", " ")) for key in keys)]
    body = []
    for row in rows:
        cells = [row.values[key].text(plus_minus, 1 if key == "seconds" else 2) if key in row.values else "" for key in keys]
        body.append([*(str(getattr(row, fact)) for fact in facts), row.method, str(row.seeds), *cells])
    return header, body


def caption(rows: Sequence[Row]) -> str:
    """What all rows share."""
    shared = []
    for name, form in (("protocol", "{}"), ("data", "{}"), ("backbone", "backbone {}"), ("shots", "{} shots")):
        values = {getattr(row, name) for row in rows}
        if len(values) == 1:
            shared.append(form.format(values.pop()))
    return ", ".join(shared)


def results_table(records: Iterable[dict[str, Any]]) -> Table:
    """Mean ± deviation over seeds, for the terminal."""
    rows = rows_of(records)
    header, body = grid(rows)
    return _rich(caption(rows), header, body, bold=header.index("method"))


def formatted(records: Iterable[dict[str, Any]], format: str) -> str:
    """The same as text: md, csv or latex."""
    rows = rows_of(records)
    if format == "md":
        header, body = grid(rows)
        rule = ["---" if name in ("method", "protocol", "data", "backbone") else "---:" for name in header]
        lines = [header, rule, *body]
        return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    if format == "csv":
        return _csv(rows)
    if format == "latex":
        header, body = grid(rows, r" \pm ")
        return _latex(caption(rows), header, body)
    raise OptionError(f'no table format "{format}": {nearest(format, FORMATS)}')


def _csv(rows: Sequence[Row]) -> str:
    """Full precision, mean and deviation in columns of their own."""
    keys = list(dict.fromkeys(key for row in rows for key in row.values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["protocol", "data", "backbone", "shots", "method", "seeds",
                     *(f"{key}_{part}" for key in keys for part in ("mean", "std"))])  # fmt: skip
    for row in rows:
        cells: list[Any] = []
        for key in keys:
            cell = row.values.get(key)
            cells += ["", ""] if cell is None else [f"{cell.mean:.6g}", f"{cell.std:.6g}" if cell.n > 1 else ""]
        writer.writerow([row.protocol, row.data, row.backbone, row.shots, row.method, row.seeds, *cells])
    return text.getvalue().rstrip("\n")


def _latex(title: str, header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    words = sum(name in ("method", "protocol", "data", "backbone") for name in header)

    def line(cells: Sequence[str]) -> str:
        shown = [f"${cell}$" if r"\pm" in cell else _escape(cell) for cell in cells]
        return " & ".join(shown) + r" \\"

    rows = "\n".join(line(cells) for cells in body)
    return (
        f"% {title}\n\\begin{{tabular}}{{{'l' * words}{'r' * (len(header) - words)}}}\n\\toprule\n"
        f"{line(header)}\n\\midrule\n{rows}\n\\bottomrule\n\\end{{tabular}}"
    )


def _escape(text: str) -> str:
    for character in r"&%$#_{}":
        text = text.replace(character, "\\" + character)
    return text


def run_table(info: dict[str, Any]) -> Table:
    """Zero-shot beside what was learned, from run.json."""
    reported = info.get("reported")
    scores = info.get("scores", {})
    split = f"{info['data']['name']}, {reported}" if reported else f"{info['data']['name']}: nothing to score on"
    return scores_table(split, info["method"], scores.get(reported or ""), scores.get("zero_shot"))


def cost_line(info: dict[str, Any]) -> str:
    """Seconds and learned numbers of a run, from run.json."""
    timings = info.get("timings", {})
    learned = f"{info.get('parameters', 0):,}".replace(",", " ")
    return f"{timings.get('train_s', 0):.1f} s training, {timings.get('total_s', 0):.1f} s in all, {learned} learned numbers"


def scores_table(title: str, method: str, learned: Scores | None, zero_shot: Scores | None) -> Table:
    """Accuracy and macro F1 of both, and what learning changed."""
    header = ["", "accuracy", "macro F1", "pictures"]
    body = []
    for name, scores in (("zero-shot", zero_shot), (method, learned)):
        if scores is not None:
            body.append([name, f"{scores['accuracy']:.2f} %", f"{scores['macro_f1']:.2f} %", str(scores["count"])])
    if learned is not None and zero_shot is not None and method != "zeroshot":
        change = [f"{learned[key] - zero_shot[key]:+.2f}" for key in ("accuracy", "macro_f1")]
        body.append(["change", *change, ""])
    return _rich(title, header, body, bold=0)


def class_table(learned: Scores, zero_shot: Scores | None) -> Table:
    """Every class: pictures, accuracy beside zero-shot, precision, F1."""
    before = {row["name"]: row for row in (zero_shot or {}).get("classes", [])}
    header = ["class", "pictures", *(["zero-shot"] if before else []), "accuracy", "precision", "F1"]
    body = []
    for row in learned["classes"]:
        reference = before.get(row["name"])
        body.append([
            row["name"], str(row["count"]), *([f"{reference['accuracy']:.1f}" if reference else ""] if before else []),
            *((f"{row[key]:.1f}" if row["count"] else "") for key in ("accuracy", "precision", "f1")),
        ])  # fmt: skip
    return _rich("every class, per cent", header, body)


def _rich(title: str, header: Sequence[str], body: Sequence[Sequence[str]], bold: int | None = None) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    words = ("", "method", "protocol", "data", "backbone", "class")
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if name in words else "right", style="bold" if i == bold else None)
    for line in body:
        table.add_row(*map(escape, line))
    return table
