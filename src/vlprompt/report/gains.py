"""What a method gains over another, ours beside what papers report: same direction or not.

Levels depend on backbone and data; whether one method is better than another may carry over. Differences are taken
seed by seed, because seeds share their training pictures.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vlprompt.errors import OptionError
from vlprompt.plain_text import cell
from vlprompt.protocols import declared
from vlprompt.report import published_figures as published
from vlprompt.report.gathering import ZERO_SHOT, Cell, Key, Seeds, average, cells, gather, plain_name


@dataclass(frozen=True)
class Gained:
    """One method less another, in points. data: a data set, or the average of so many.

    published: the difference that the paper states or that its averages give; None where it has none. rough: it
    was measured in a plot.
    """

    protocol: str
    data: str
    backbone: str
    shots: int
    method: str
    over: str
    metric: str
    ours: Cell
    published: float | None
    paper: str = ""
    rough: bool = False

    @property
    def agrees(self) -> str:
        """`yes`, `no`, or `unclear` where ours is within one deviation over seeds; empty without a paper's."""
        if self.published is None:
            return ""
        if self.ours.n > 1 and abs(self.ours.mean) < self.ours.std:
            return "unclear"
        return "yes" if (self.ours.mean > 0) == (self.published > 0) else "no"


def gains(records: Iterable[Mapping[str, Any]], over: str, paper: str | None = None) -> list[Gained]:
    """Of every method over the given one (`zeroshot`, `coop`, ...), on average over the data sets that both have.

    OptionError where runs of the given one have several settings: then `over` has to be a name with them.
    """
    gathered = gather(record for record in records if not record.get("error"))
    base = ZERO_SHOT if over == "zeroshot" else over
    names = {key.method for key in gathered}
    several = sorted(name for name in names if plain_name(name) == base)
    if base == plain_name(base) and len(several) > 1:
        raise OptionError(
            f"over {over}: its runs have several settings; give one of {', '.join(map(repr, several))}"
        )
    plain_over = plain_name(base).replace(ZERO_SHOT, "zeroshot")
    found = []
    for protocol, backbone, shots in dict.fromkeys((k.protocol, k.backbone, k.shots) for k in gathered):
        here = {
            k: s
            for k, s in gathered.items()
            if (k.protocol, k.backbone, k.shots) == (protocol, backbone, shots)
        }
        known = published.figures(protocol, paper)
        for method in dict.fromkeys(key.method for key in here):
            if method == base or plain_name(method) == ZERO_SHOT:
                continue
            data, ours = _differences(here, method, base)
            for metric in (value.name for value in declared(protocol).values if value.gain):
                if metric in ours:
                    theirs = _published(known, protocol, plain_name(method), plain_over, metric, shots, paper)
                    found.append(
                        Gained(protocol, data, backbone, shots, method, over, metric, ours[metric], *theirs)
                    )
    return found


def _differences(rows: Mapping[Key, Seeds], method: str, base: str) -> tuple[str, dict[str, Cell]]:
    """(data, difference of every value) over the data sets that both methods have."""
    by_data: dict[str, dict[str, Seeds]] = {}
    for key, seeds in rows.items():
        by_data.setdefault(key.data, {})[key.method] = seeds
    shared = [name for name, held in by_data.items() if method in held and base in held]
    if not shared:
        return "", {}
    first, second = (average([by_data[name][which] for name in shared]) for which in (method, base))
    pairs = {
        seed: {key: values[key] - second[seed][key] for key in values if key in second[seed]}
        for seed, values in first.items()
        if seed in second
    }
    if not pairs:
        return "", {}
    renamed = {seed: {f"d {key}": value for key, value in values.items()} for seed, values in pairs.items()}
    found = {
        key.removeprefix("d "): cell for key, cell in cells(renamed).items()
    }  # no harmonic mean of differences
    return (shared[0] if len(shared) == 1 else f"average of {len(shared)}"), found


def _published(
    known: list[published.Figure],
    protocol: str,
    method: str,
    over: str,
    metric: str,
    shots: int,
    paper: str | None,
) -> tuple[float | None, str, bool]:
    """(difference, paper, measured in a plot), on average over the eleven data sets (transfer: as the paper averages)."""
    for stated in published.stated_gains(protocol):
        if (stated.method, stated.over, stated.metric, stated.shots) == (
            method,
            over,
            metric,
            shots,
        ) and paper in (None, stated.paper):
            return stated.gain, stated.paper, False
    place = "imagenet" if declared(protocol).usual_targets else published.AVERAGE
    for source in published.PAPERS:
        own = [figure for figure in known if figure.paper == source]
        a, b = published.find(own, method, place, shots), published.find(own, over, place, shots)
        if a is not None and b is not None and metric in a.values and metric in b.values:
            return a.values[metric] - b.values[metric], source, "plot" in (a.kind, b.kind)
    return None, "", False


def cells_of(rows: Iterable[Gained]) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of a table; facts that never differ are left out."""
    from vlprompt.report.sheet_formats import heading

    held = list(rows)
    facts = [
        name
        for name in ("protocol", "backbone", "shots", "data")
        if len({getattr(row, name) for row in held}) > 1
    ]
    body = []
    for row in held:
        ours = f"{row.ours.mean:+.2f}" + (f" ± {row.ours.std:.2f}" if row.ours.n > 1 else "")
        theirs = "" if row.published is None else f"{'≈ ' * row.rough}{row.published:+.2f} ({row.paper})"
        told = [str(getattr(row, name)) for name in facts]
        body.append([*told, row.method, heading(row.metric), ours, theirs, row.agrees])
    return [*facts, "method", "value", "ours", "published", "same direction"], body


def caption(rows: Iterable[Gained]) -> str:
    """What all lines share."""
    held = list(rows)
    forms = (("protocol", "{}"), ("data", "{}"), ("backbone", "backbone {}"), ("shots", "{} shots"))
    values = [(form, {getattr(row, name) for row in held}) for name, form in forms]
    shared = [form.format(*found) for form, found in values if len(found) == 1]
    return ", ".join([f"gains over {held[0].over}, points" if held else "no gains", *shared])


def gains_text(rows: Iterable[Gained]) -> str:
    """As Markdown."""
    header, body = cells_of(rows)
    rule = ["---:" if name in ("ours", "published", "shots") else "---" for name in header]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *body])


def gains_latex(rows: Iterable[Gained]) -> str:
    """As a LaTeX table (booktabs); notes are comments above it."""
    from vlprompt.report.sheet_formats import latex_text, tabular

    held = list(rows)
    header, body = cells_of(held)
    above = "".join(f"% {text}\n" for text in [caption(held), *notes(held)])
    return above + tabular(
        "l" * len(header), header, [" & ".join(map(latex_text, line)) + r" \\" for line in body]
    )


def gains_csv(rows: Iterable[Gained]) -> str:
    """Full precision; every fact in a column of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "protocol",
            "data",
            "backbone",
            "shots",
            "method",
            "over",
            "value",
            "mean",
            "std",
            "seeds",
            "published",
            "paper",
            "same_direction",
        ]
    )
    for row in rows:
        writer.writerow(
            [
                row.protocol,
                cell(row.data),
                cell(row.backbone),
                row.shots,
                cell(row.method),
                cell(row.over),
                row.metric,
                row.ours.mean,
                row.ours.std,
                row.ours.n,
                row.published,
                row.paper,
                row.agrees,
            ]
        )
    return text.getvalue().rstrip("\n")


def notes(rows: Iterable[Gained]) -> list[str]:
    """What a reader of the gains has to know."""
    held = list(rows)
    said = []
    if any(row.published is not None for row in held):
        said.append(
            "published: on average over the papers' data sets with CLIP's published weights, whatever data and backbone ours "
            "are of; unclear: ours is less than one deviation over seeds"
        )
    if any(row.rough for row in held):
        said.append("≈: measured in a plot")
    if any(set(plain_name(row.method).split("+")) & {"ctp", "tft"} for row in held):
        said.append("CTP and TFT: our reading of the abstract; the direction reproduces or refutes nothing")
    return said
