"""write_overview: one self-contained page about the records of protocols: tables, figures, what to make of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlprompt.errors import DataError
from vlprompt.protocols import all_facts, declared, known_values
from vlprompt.report import html_pages as pages
from vlprompt.report.comparison import Sheet, compare
from vlprompt.report.gathering import ZERO_SHOT, plain_name
from vlprompt.report.html_pages import Html, html
from vlprompt.report.run_report import figures_of, write_figures, write_page
from vlprompt.report.sheet_formats import LOWER_IS_BETTER, table_of
from vlprompt.runs.records import read

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_overview(files: Sequence[Path], out: Path | None = None, paper: str | None = None) -> Path:
    """Writes the page, beside the first file if not told otherwise; returns where it lies.

    The figures lie as PNG and SVG in a folder beside it. paper: published figures beside ours. DataError for files
    without results.
    """
    records = [record for file in files for record in read(file)]
    path = out if out is not None else files[0].with_name(f"{files[0].stem}-report.html")
    drawn = figures(records)
    text = overview(records, drawn, [file.name for file in files], paper)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_page(path, text)
    write_figures(figures_of(path), drawn)
    return path


def figures(records: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """What can be drawn of the records, by protocol."""
    from vlprompt.report.drawings import drawings

    found = {}
    for protocol, facts in all_facts().items():
        own = [record for record in records if record["protocol"] == protocol]
        few = facts.over_shots and len({record.get("shots") for record in own}) < 2
        if not own or few or not facts.drawing:
            continue
        make = drawings()[facts.drawing]
        try:
            found[protocol] = make(own)
        except DataError:  # several backbones, or several shots where one is shown: the table has them all
            continue
    return found


def overview(
    records: Sequence[Mapping[str, Any]],
    drawn: Mapping[str, Figure],
    names: Sequence[str],
    paper: str | None = None,
) -> str:
    """The whole page as HTML."""
    from vlprompt.report import plots

    sheets = compare(records, paper)
    data = list(dict.fromkeys(str(record.get("data", "")) for record in records))
    methods = list(dict.fromkeys(str(record["method"]) for record in records))
    heading = f"{len(methods)} methods on {data[0] if len(data) == 1 else f'{len(data)} data sets'}"
    heading = (
        heading
        if len(methods) > 1
        else f"{methods[0]} on {data[0] if len(data) == 1 else f'{len(data)} data sets'}"
    )
    seeds = sorted({record.get("seed", 0) for record in records})
    subtitle = (
        f"{len(records)} runs; seeds {', '.join(map(str, seeds))}; mean ± deviation over seeds, per cent"
    )
    sections = []
    for number, sheet in enumerate(sheets):
        svg = ""
        if sheet.protocol in drawn and all(other.protocol != sheet.protocol for other in sheets[:number]):
            title = declared(sheet.protocol).title
            svg = pages.figure(plots.to_svg(drawn[sheet.protocol], sheet.protocol, title), "")
        sections.append(_section(sheet, svg))
    seconds = sum(float(record.get("total_seconds") or record.get("seconds") or 0) for record in records)
    about = pages.facts(
        "Records",
        {
            "files": ", ".join(names),
            "data": ", ".join(data),
            "methods": ", ".join(methods),
            "backbones": ", ".join(dict.fromkeys(str(record.get("backbone", "")) for record in records)),
            "time of all runs": f"{seconds:.0f} s",
        },
    )
    body = pages.fill(
        "results.html",
        heading=heading,
        subtitle=subtitle,
        numbers=_numbers(sheets),
        sections=Html("".join(sections)),
        settings=about,
    )
    return pages.page(heading, body)


def _section(sheet: Sheet, svg: str) -> Html:
    header, words, rows = table_of(sheet)
    lines = []
    for row in rows:
        shown = (
            Html(f"<b>{html(n)}</b>") if best else n for n, best in zip(row.numbers, row.best, strict=True)
        )
        cells = [(cell, _number(text)) for cell, text in zip(shown, row.numbers, strict=True)]
        lines.append([*row.words, *cells])
    table = pages.table(header, lines, words=words, sortable=True)
    title = declared(sheet.protocol).title
    return Html(
        f"<h2>{html(title)}</h2><p class=soft>{html(sheet.caption)}. The best of each column and data set is bold.</p>"
        f"<div class='scroll tall'>{table}</div>{svg}{pages.notes(sheet.notes)}"
    )


def _number(text: str) -> str:
    """What a cell is sorted by: its first number."""
    found = re.search(r"[-−]?\d+(\.\d+)?", text)
    return found[0].replace("−", "-") if found else ""


def _numbers(sheets: Sequence[Sheet]) -> Html:
    """The best method of each protocol beside zero-shot; of the average over data sets, where there is one."""
    found: list[Html] = []
    for sheet in sheets:
        lines = [line for line in sheet.lines if line.mean_of] or list(sheet.lines)
        most = max(line.shots for line in lines)
        lines = [line for line in lines if line.shots == most and line.data == lines[0].data]
        key = next(
            (
                k
                for k in (declared(sheet.protocol).main, "average", "accuracy")
                if any(k in line.values for line in lines)
            ),
            None,
        )
        held = [line for line in lines if key in line.values and plain_name(line.method) != ZERO_SHOT]
        if key is None or not held or key in LOWER_IS_BETTER:
            continue
        best = max(held, key=lambda line: line.values[key].mean)
        before = next(
            (
                line.values[key].mean
                for line in lines
                if plain_name(line.method) == ZERO_SHOT and key in line.values
            ),
            None,
        )
        value = best.values[key].mean
        more: Any = ""
        if before is not None:
            change = value - before
            kind = "good" if change >= 0 else "bad"
            more = Html(f"<span class={kind}>({pages.signed(change)} from zero-shot)</span>")
        title = declared(sheet.protocol).title
        at = f", {most} pictures per class" if most else ""
        text = f"{title}{at}: {best.method} is best, {known_values()[key].words}"
        found.append(pages.number(f"{value:.1f} %", text, main=not found, more=more))
    return Html("\n".join(found))
