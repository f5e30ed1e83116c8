"""Result sheets as text: for the terminal, Markdown, CSV and LaTeX.

Published figures stand in a column beside ours where there are few values, and in lines below where there are many.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlprompt import plain_text
from vlprompt.errors import OptionError, nearest
from vlprompt.plain_text import markdown
from vlprompt.protocols import declared, known_values
from vlprompt.protocols.protocol_facts import LOWER, NEITHER
from vlprompt.report.comparison import Line, Sheet
from vlprompt.report.gathering import Cell

if TYPE_CHECKING:
    from rich.table import Table

FORMATS = ("rich", "md", "csv", "latex")
VALUES = known_values()
HEADINGS = {name: value.heading for name, value in VALUES.items()}
FIRST = [name for name, value in VALUES.items() if not value.last]
LAST = (*(name for name, value in VALUES.items() if value.last), "seconds")
LOWER_IS_BETTER = tuple(name for name, value in VALUES.items() if value.good == LOWER)
NEUTRAL = (*(name for name, value in VALUES.items() if value.good == NEITHER), "seconds")
MOST_BESIDE = 3  # values with a published figure in a column of its own


@dataclass(frozen=True)
class Row:
    """One line of a table. words: the leading cells; numbers: the others; best: which of them stand out."""

    words: tuple[str, ...]
    numbers: tuple[str, ...]
    best: tuple[bool, ...] = ()
    starts: bool = False  # a new data set


def formatted(sheets: Sequence[Sheet], format: str) -> str:
    """All sheets as md, csv or latex. Notes stand below (CSV has none)."""
    if format == "csv":
        return csv_text(sheets)
    if format not in FORMATS[1:]:
        raise OptionError(f'no table format "{format}": {nearest(format, FORMATS)}')
    write = _markdown if format == "md" else _latex
    parts = [write(sheet) for sheet in sheets]
    if format == "md":
        if len(sheets) > 1:
            parts = [
                f"{markdown(sheet.caption)}\n\n{part}" for sheet, part in zip(sheets, parts, strict=True)
            ]
        parts = [
            part + "".join(f"\n\n_{markdown(note)}._" for note in s.notes)
            for s, part in zip(sheets, parts, strict=True)
        ]
    return "\n\n".join(parts)


def heading(key: str) -> str:
    if key.startswith("session_"):
        return f"after {key.removeprefix('session_')}"
    return "training s" if key == "seconds" else HEADINGS.get(key, key.replace("_", " "))


def keys_of(lines: Iterable[Line]) -> list[str]:
    """The values in the order of their columns: known ones first, targets as they come, summaries last."""
    keys = list(dict.fromkeys(key for line in lines for key in line.values))
    own = sorted((key for key in keys if key not in FIRST and key not in LAST), key=_count)
    order = [*FIRST, *own, *LAST]
    return sorted(keys, key=order.index)


def _count(key: str) -> int:
    """Of `4 shots` or `session_4`: 4; 0 for other names, which keep their order."""
    found = re.fullmatch(r"(\d+) shots?|session_(\d+)", key)
    return int(found[1] or found[2]) if found else 0


def by_shots(sheet: Sheet) -> Sheet:
    """Several numbers of shots, where a protocol puts them beside each other: a column for each. Other sheets as they are."""
    if not declared(sheet.protocol).over_shots or len({line.shots for line in sheet.lines}) < 2:
        return sheet
    rows: dict[tuple[str, str], list[Line]] = {}
    for line in sheet.lines:
        rows.setdefault((line.data, line.method), []).append(line)
    shots, main = sorted({line.shots for line in sheet.lines}), declared(sheet.protocol).main
    lines = []
    for held in rows.values():
        at = {line.shots: line for line in held}
        names = {count: f"{count} shot{'s' * (count > 1)}" for count in shots if count in at}
        values = {name: at[count].values[main] for count, name in names.items() if main in at[count].values}
        figures = {name: at[count].published[main] for count, name in names.items() if at[count].published}
        seeds = max(line.seeds for line in held)
        rough = any(line.rough for line in held)
        splits = tuple(sorted({kind for line in held for kind in line.splits}))
        lines.append(
            replace(
                held[0], shots=0, seeds=seeds, values=values, published=figures, rough=rough, splits=splits
            )
        )
    return replace(sheet, lines=tuple(lines))


def table_of(sheet: Sheet, plus_minus: str = " ± ") -> tuple[list[str], int, list[Row]]:
    """(headings, how many of them are words, rows)."""
    sheet = by_shots(sheet)
    lines, keys = sheet.lines, keys_of(sheet.lines)
    facts = [name for name in ("data", "shots") if len({getattr(line, name) for line in lines}) > 1]
    compared = [key for key in keys if any(key in line.published for line in lines)]
    beside = compared if len(compared) <= MOST_BESIDE else []
    header = [*facts, "method", "seeds"]
    for key in keys:
        header += [heading(key), *(["published"] if key in beside else [])]
    rows: list[Row] = []
    best = _best(lines, keys)
    previous = None
    for line in lines:
        words = (*(str(getattr(line, fact)) for fact in facts), line.method)
        place = (line.data, line.shots)
        numbers, marks = [str(line.seeds)], [False]
        for key in keys:
            numbers.append(number(key, line.values.get(key), plus_minus))
            marks.append((line.data, line.shots, line.method, key) in best)
            if key in beside:
                numbers.append(_beside(line, key))
                marks.append(False)
        rows.append(Row(words, tuple(numbers), tuple(marks), previous is not None and place[0] != previous))
        previous = place[0]
        if compared and not beside and line.published:
            about = f"{'≈ ' * line.rough}published{' †' * line.other_split}"
            figures = [f"{line.published[key]:.2f}" if key in line.published else "" for key in keys]
            differences = [
                "" if line.difference(key) is None else f"{line.difference(key):+.2f}" for key in keys
            ]
            for name, shown in ((about, figures), ("difference", differences))[
                : 1 if line.other_split else 2
            ]:
                rows.append(Row((*words[:-1], f"– {name}"), ("", *shown), (False,) * (len(keys) + 1)))
    return header, len(facts) + 1, rows


def number(key: str, cell: Cell | None, plus_minus: str = " ± ") -> str:
    if cell is None:
        return ""
    if key == "text_change":
        return f"{cell.mean:.2g}"
    return cell.text(plus_minus, 1 if key == "seconds" else 2)


def _beside(line: Line, key: str) -> str:
    if key not in line.published:
        return ""
    difference = line.difference(key)
    after = " †" if line.other_split else "" if difference is None else f" ({difference:+.2f})"
    return f"{'≈ ' * line.rough}{line.published[key]:.2f}{after}"


def _best(lines: Sequence[Line], keys: Sequence[str]) -> set[tuple[str, int, str, str]]:
    """The best mean of every value on each data set, where there is something to choose."""
    found = set()
    for place in {(line.data, line.shots) for line in lines}:
        held = [line for line in lines if (line.data, line.shots) == place]
        for key in keys:
            means = {line.method: line.values[key].mean for line in held if key in line.values}
            if key in NEUTRAL or len(means) < 2:
                continue
            target = (min if key in LOWER_IS_BETTER else max)(means.values())
            found |= {(*place, method, key) for method, mean in means.items() if mean == target}
    return found


def rich_table(sheet: Sheet) -> Table:
    """For the terminal, without the notes; a name is not said again in every line."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    header, words, rows = table_of(sheet, " ±")
    seeds = {row.numbers[0] for row in rows if row.numbers[0]}
    skip = words if len(seeds) == 1 else -1  # the same for all lines: said in the title
    title = (
        f"{sheet.caption}, {'1 seed' if seeds == {'1'} else f'{seeds.pop()} seeds'}"
        if skip > 0
        else sheet.caption
    )
    table = Table(
        title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for i, name in enumerate(header):
        if i != skip:
            style = "bold" if i == words - 1 else None
            table.add_column(
                escape(name), justify="left" if i < words else "right", style=style, no_wrap=i < words
            )
    previous: tuple[str, ...] = ()
    for row in rows:
        if row.starts:
            table.add_section()
        same = [previous[: i + 1] == row.words[: i + 1] for i in range(len(row.words) - 1)]
        said = ["" if again else escape(word) for word, again in zip(row.words, same, strict=False)]
        shown = [
            f"[bold]{escape(n)}[/bold]" if best else escape(n)
            for n, best in zip(row.numbers, row.best, strict=True)
        ]
        table.add_row(*said, escape(row.words[-1]), *(shown if skip < 0 else shown[1:]))
        previous = row.words[:-1]
    return table


def _markdown(sheet: Sheet) -> str:
    header, words, rows = table_of(sheet)
    lines: list[Sequence[str]] = [
        [*map(markdown, header)],
        ["---"] * words + ["---:"] * (len(header) - words),
    ]
    for row in rows:
        shown = (f"**{n}**" if best else n for n, best in zip(row.numbers, row.best, strict=True))
        lines.append([*map(markdown, row.words), *shown])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _latex(sheet: Sheet) -> str:
    header, words, rows = table_of(sheet, r" \pm ")
    lines = []
    for row in rows:
        shown = (_latex_number(n, best) for n, best in zip(row.numbers, row.best, strict=True))
        rule = "\\midrule\n" if row.starts else ""
        lines.append(rule + " & ".join([*map(latex_text, row.words), *shown]) + r" \\")
    said = "\n".join(f"% {' '.join(text.split())}" for text in (sheet.caption, *sheet.notes))
    return f"{said}\n" + tabular("l" * words + "r" * (len(header) - words), header, lines)


def tabular(columns: str, header: Sequence[str], lines: Sequence[str]) -> str:
    """A LaTeX table (booktabs) of lines that are written already."""
    return (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{' & '.join(map(latex_text, header))} \\\\\n\\midrule\n"
        + "\n".join(lines)
        + "\n\\bottomrule\n\\end{tabular}"
    )


def _latex_number(text: str, best: bool) -> str:
    if r"\pm" in text:
        mean, _, deviation = text.partition(r" \pm ")
        return rf"$\mathbf{{{mean}}} \pm {deviation}$" if best else f"${text}$"
    return rf"\textbf{{{text}}}" if best and text else latex_text(text)


_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",  # commands, which may read files
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
}


def latex_text(text: str) -> str:
    """With what means something to LaTeX written so that it stands for itself."""
    text = "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
    for sign, written in (
        ("≈", r"$\approx$"),
        ("†", r"$^\dagger$"),
        ("– ", r"-- "),
        ("Δ", r"$\Delta$"),
        ("±", r"$\pm$"),
    ):
        text = text.replace(sign, written)
    return text


def csv_text(sheets: Sequence[Sheet]) -> str:
    """Full precision; mean, deviation, published figure and difference in columns of their own."""
    lines = [(sheet, line) for sheet in sheets for line in sheet.lines]
    keys = keys_of(line for _, line in lines)
    compared = [key for key in keys if any(key in line.published for _, line in lines)]
    parts = {key: ("mean", "std", *(("published", "difference") if key in compared else ())) for key in keys}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "protocol",
            "data",
            "backbone",
            "shots",
            "method",
            "seeds",
            *(f"{key}_{part}" for key in keys for part in parts[key]),
        ]
    )
    for sheet, line in lines:
        texts = (sheet.protocol, line.data, sheet.backbone, line.method)
        protocol, data, backbone, method = (plain_text.cell(str(text)) for text in texts)
        row: list[Any] = [protocol, data, backbone, line.shots, method, line.seeds]
        for key in keys:
            held = _numbers(line, key)
            row += [held.get(part, "") for part in parts[key]]
        writer.writerow(row)
    return text.getvalue().rstrip("\n")


def _numbers(line: Line, key: str) -> Mapping[str, str]:
    cell, difference = line.values.get(key), line.difference(key)
    found = (
        {}
        if cell is None
        else {"mean": f"{cell.mean:.6g}"} | ({"std": f"{cell.std:.6g}"} if cell.n > 1 else {})
    )
    if key in line.published:
        found["published"] = f"{line.published[key]:g}"
    if difference is not None:
        found["difference"] = f"{difference:.6g}"
    return found
