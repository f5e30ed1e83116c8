"""Result tables of a protocol: every data set and their average, beside what a paper reports.

`compare` puts records together; `vlprompt.report.sheet_formats` writes them as text. A published figure stands beside ours
only where protocol, data set and shots are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vlprompt.methods import facts_of
from vlprompt.methods import names as method_names
from vlprompt.protocols import declared
from vlprompt.report import published_figures as published
from vlprompt.report.gathering import (
    ZERO_SHOT,
    Cell,
    Key,
    Seeds,
    average,
    cells,
    gather,
    mixed,
    of_one_data,
    place_of,
    plain_name,
    told_apart,
)

OTHER_SPLITS = {
    "given": "the data set's own",
    "drawn": "drawn at random",
    "incomplete": "theirs with pictures missing",
}


@dataclass(frozen=True)
class Line:
    """One method on one data set, or on average. published: a paper's figures by the same names."""

    data: str
    shots: int
    method: str
    seeds: int
    values: Mapping[str, Cell]
    published: Mapping[str, float] = field(default_factory=dict)
    rough: bool = False  # measured in a plot
    mean_of: int = 0  # data sets averaged; 0: none
    splits: tuple[
        str, ...
    ] = ()  # whose splits its records are of, see `Dataset.split_kind`; () where none says

    @property
    def other_split(self) -> bool:
        """Whether some record says that its split is not the papers': then no difference means anything."""
        return any(kind != "papers" for kind in self.splits)

    def difference(self, key: str) -> float | None:
        """Ours less the published figure, in points; None without one, and on another split than the papers'."""
        if self.other_split or key not in self.published or key not in self.values:
            return None
        return self.values[key].mean - self.published[key]


@dataclass(frozen=True)
class Sheet:
    """The lines of one protocol on one backbone. notes: what a reader of the figures has to know."""

    protocol: str
    backbone: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """What all lines share."""
        facts = [self.protocol]
        data, shots = {line.data for line in self.lines}, {line.shots for line in self.lines}
        facts += [f"data {data.pop()}"] if len(data) == 1 else []
        facts += [f"backbone {self.backbone}"] if self.backbone else []
        facts += [f"{shots.pop()} shots"] if len(shots) == 1 else []
        return ", ".join(facts)


def averaged(sheet: Sheet) -> Sheet:
    """The sheet with the averages over data sets alone."""
    return replace(sheet, lines=tuple(line for line in sheet.lines if line.mean_of))


def compare(records: Iterable[Mapping[str, Any]], paper: str | None = None) -> list[Sheet]:
    """One sheet for each protocol and backbone. OptionError for a paper that is not known."""
    kept = told_apart(of_one_data(record for record in records if not record.get("error")))
    gathered, splits = gather(kept), splits_of(kept)
    found = []
    for protocol, backbone in dict.fromkeys((key.protocol, key.backbone) for key in gathered):
        rows = {
            key: seeds
            for key, seeds in gathered.items()
            if (key.protocol, key.backbone) == (protocol, backbone)
        }
        lines = [
            Line(k.data, k.shots, k.method, len(seeds), _cells(k.method, seeds), splits=splits.get(k, ()))
            for k, seeds in rows.items()
        ]
        notes: list[str] = []
        if declared(protocol).averaged:
            means, notes = _averages(rows)
            for mean in means:
                own = {
                    kind
                    for line in lines
                    if (line.shots, line.method) == (mean.shots, mean.method)
                    for kind in line.splits
                }
                lines.append(replace(mean, splits=tuple(sorted(own))))
        lines = _ordered(lines)
        if paper is not None:
            known = published.figures(protocol, paper)
            lines = [_beside(line, known, protocol, lines) for line in lines]
            notes = [*_paper_notes(protocol, backbone, paper, lines), *notes]
        if declared(protocol).over_shots and not any(
            plain_name(line.method) == "linear_probe" for line in lines
        ):
            notes = [*notes, "the linear probe is not among these (method linear_probe)"]
        notes = [
            *notes,
            *mixed(r for r in kept if (r["protocol"], r.get("backbone", "")) == (protocol, backbone)),
        ]
        readings = [
            m
            for m in dict.fromkeys(plain_name(line.method) for line in lines)
            if (facts := facts_of(m)) is not None and not facts.code_published
        ]
        if readings:
            notes = [
                *notes,
                f"{', '.join(readings)}: our reading of the abstract; no equations or code are public, so "
                "no difference from the paper is a reproduction or a failure of one",
            ]
        found.append(Sheet(protocol, backbone, tuple(lines), tuple(notes)))
    return found


def splits_of(records: Iterable[Mapping[str, Any]]) -> dict[Key, tuple[str, ...]]:
    """Whose splits the records of a row are of, targets included; rows whose records do not say are left out."""
    found: dict[Key, set[str]] = {}
    for record in records:
        kinds = {str(record["split"])} if record.get("split") else set()
        kinds |= set(map(str, (record.get("target_splits") or {}).values()))
        for method in (record["method"], record.get("zero_shot_name", ZERO_SHOT)):
            found.setdefault(Key(*place_of(record), method), set()).update(kinds)
    return {key: tuple(sorted(kinds)) for key, kinds in found.items() if kinds}


def _cells(method: str, seeds: Seeds) -> dict[str, Cell]:
    """Zero-shot learns nothing: where all seeds agree, a deviation of zero says nothing."""
    found = cells(seeds)
    if plain_name(method) == ZERO_SHOT:
        return {key: Cell(cell.mean, 0.0, 1) if cell.std < 1e-9 else cell for key, cell in found.items()}
    return found


def _averages(rows: Mapping[Key, Seeds]) -> tuple[list[Line], list[str]]:
    """A line for every method that was run on all data sets; a note names the others."""
    lines: list[Line] = []
    without: dict[tuple[str, str], list[str]] = {}
    for shots in dict.fromkeys(key.shots for key in rows):
        data = list(dict.fromkeys(key.data for key in rows if key.shots == shots))
        if len(data) < 2:
            continue
        for method in dict.fromkeys(key.method for key in rows if key.shots == shots):
            held = {k.data: seeds for k, seeds in rows.items() if k.shots == shots and k.method == method}
            missing = [name for name in data if name not in held]
            seeds = {} if missing else average([held[name] for name in data])
            if seeds:
                lines.append(
                    Line(
                        f"average of {len(data)}",
                        shots,
                        method,
                        len(seeds),
                        _cells(method, seeds),
                        mean_of=len(data),
                    )
                )
            else:
                why = (
                    f"not run on {', '.join(missing)}" if missing else "its data sets have no seed in common"
                )
                without.setdefault((method, why), []).append(str(shots))
    return lines, [
        f"{method} at {', '.join(shots)} shot{'' if shots == ['1'] else 's'} has no average: {why}"
        for (method, why), shots in without.items()
    ]


def _ordered(lines: Sequence[Line]) -> list[Line]:
    """Data sets as in the papers, then others as they come; zero-shot and probes before what learns prompts."""
    known = [ZERO_SHOT, *method_names()]
    data = list(dict.fromkeys(line.data for line in lines))

    def place(line: Line) -> tuple[int, ...]:
        data_name = published.catalog_name(line.data)
        where = (
            published.ELEVEN.index(data_name)
            if data_name in published.ELEVEN
            else len(published.ELEVEN) + data.index(line.data)
        )
        name = plain_name(line.method)
        which = known.index(name) if name in known else len(known)
        return (line.mean_of > 0, where, line.shots, which)

    return sorted(lines, key=place)


def _beside(line: Line, known: Sequence[published.Figure], protocol: str, lines: Sequence[Line]) -> Line:
    """The line with the published figures of the same method, data set and shots, if there are any."""
    method = plain_name(line.method).replace(ZERO_SHOT, "zeroshot")
    if line.mean_of:
        data = list(
            dict.fromkeys(other.data for other in lines if other.shots == line.shots and not other.mean_of)
        )
        values = published.mean_figure(known, method, data, line.shots)
        rough = bool(values) and any(f.kind == "plot" for f in known if f.method == method)
        return replace(line, published={k: v for k, v in values.items() if k in line.values}, rough=rough)
    figure = published.find(known, method, line.data, line.shots)
    if figure is None:
        return line
    values = _transferred(figure, line) if declared(protocol).has_targets else figure.values
    return replace(
        line, published={k: v for k, v in values.items() if k in line.values}, rough=figure.kind == "plot"
    )


def _transferred(figure: published.Figure, line: Line) -> dict[str, float]:
    """A paper's figures for our targets. Its average counts if it has the same targets; of fewer it is made anew."""
    names = {key: published.catalog_name(key) for key in line.values if key not in ("seconds", "average")}
    values = {key: figure.values[name] for key, name in names.items() if name in figure.values}
    targets = {key for key in names if key != "source"}
    if targets and targets <= set(values):
        whole = {names[key] for key in targets} == set(figure.values) - {"source", "average"}
        mean = sum(values[key] for key in targets) / len(targets)
        values["average"] = figure.values.get("average", mean) if whole else mean
    return values


def same_backbone(ours: str, theirs: str) -> bool:
    """Whether a record's backbone is the one a figure was made with, in any of its usual names."""
    plain = re.sub(r"[^a-z0-9]", "", ours.lower())
    names = {"ViT-B/16": ("vitb16", "clipvitbasepatch16"), "RN50": ("rn50", "resnet50clipopenai")}[theirs]
    foreign = ("laion", "datacomp", "dfn", "metaclip", "siglip", "eva")
    return plain.endswith((*names, *(f"{name}pt" for name in names))) and not any(
        word in plain for word in foreign
    )


def _paper_notes(protocol: str, backbone: str, paper: str, lines: Sequence[Line]) -> list[str]:
    """Where the published figures come from, and why they may not compare."""
    title = published.PAPERS[paper]
    known = published.figures(protocol, paper)
    if not known:
        others = ", ".join(published.papers(protocol)) or "none"
        return [f"no figures of {protocol} in {title} could be read; papers that have some: {others}"]
    if not any(line.published for line in lines):
        return [f"no published figure beside these: {title} has none of the same data sets and shots"]
    shown = {plain_name(line.method).replace(ZERO_SHOT, "zeroshot") for line in lines if line.published}
    used = [figure for figure in known if figure.method in shown]
    sources = list(dict.fromkeys(f"{f.source}{f' ({f.variant})' if f.variant else ''}" for f in used))
    notes = [f"published: {'; '.join(sources)}"]
    if any(line.rough for line in lines):
        notes.append("≈: measured in a plot, to a few tenths of a point")
    theirs = used[0].backbone
    if not same_backbone(backbone, theirs):
        notes.append(
            f"not comparable: published figures were made with CLIP {theirs}, ours with {backbone or 'another'}"
        )
    beside = [line for line in lines if line.published]
    own = "published figures hold for the papers' own splits (split_zhou_*.json, seeds 1 to 3)"
    if any(line.other_split for line in beside):
        kinds = sorted(
            {OTHER_SPLITS.get(kind, kind) for line in beside for kind in line.splits if kind != "papers"}
        )
        notes.append(
            f"†: not on the papers' split but on one that is {' or '.join(kinds)}: no difference is taken; {own}"
        )
    if any(not line.splits for line in beside):
        notes.append(
            f"{own}; some records do not say which split they are of: on another one the difference means nothing"
        )
    return notes
