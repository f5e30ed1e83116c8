"""What papers report: figures by protocol, method, data set and shots, with their source and how sure they are.

They lie in assets/published.json, under vlprompt's names of methods and data sets; `docs/published.md` says where
they come from. Figures of benchmark splits and CLIP's published weights: nothing else compares with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from vlprompt.errors import OptionError, nearest
from vlprompt.protocols import harmonic_values
from vlprompt.protocols.protocol_facts import harmonic_mean

FILE = Path(__file__).parent.parent / "assets" / "published.json"
PAPERS = {
    "maple": "MaPLe (Khattak et al., CVPR 2023)",
    "lamm": "LAMM (Gao et al., AAAI 2024)",
    "ctp-tft": "task-oriented mutual learning (Long et al., ICCV 2023)",
    "promptsrc": "PromptSRC (Khattak et al., ICCV 2023)",
    "proda": "ProDA (Lu et al., CVPR 2022)",
    "tip-adapter": "Tip-Adapter (Zhang et al., ECCV 2022)",
    "dept": "DePT (Zhang et al., CVPR 2024)",
    "dpc": "DPC (Li et al., CVPR 2025)",
}
AVERAGE = "average"  # over the eleven data sets
ELEVEN = (
    "imagenet",
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "oxford_flowers",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
)
Kind = Literal["printed", "plot", "derived", "re-run"]


@dataclass(frozen=True)
class Figure:
    """What one paper reports of a method on a data set.

    data: a name of the catalog, or AVERAGE. values: per cent, by the names that protocols use; of transfer
    protocols by target. shots: None where nothing was trained. kind: printed, measured in a plot, derived from
    printed numbers, or a re-run by others than the authors. variant: settings other than the usual ones.
    """

    paper: str
    protocol: str
    method: str
    data: str
    shots: int | None
    values: Mapping[str, float]
    backbone: str
    kind: Kind
    source: str
    sure: str
    variant: str = ""


@dataclass(frozen=True)
class Gain:
    """A difference between two methods that a paper states, in points, as the mean of the eleven data sets."""

    paper: str
    protocol: str
    method: str
    over: str
    metric: str
    shots: int
    gain: float
    source: str


def figures(protocol: str, paper: str | None = None) -> list[Figure]:
    """All figures of a protocol, or those of one paper; [] where it has none. OptionError for another paper."""
    if paper is not None and paper not in PAPERS:
        raise OptionError(f'no paper "{paper}": {nearest(paper, PAPERS)}')
    return [f for f in _all() if f.protocol == protocol and (paper is None or f.paper == paper)]


def papers(protocol: str) -> list[str]:
    """The papers that have figures of a protocol."""
    return list(dict.fromkeys(figure.paper for figure in figures(protocol)))


def stated_gains(protocol: str | None = None) -> list[Gain]:
    """The differences that papers state in words."""
    return [Gain(**row) for row in _read()["gains"] if protocol in (None, row["protocol"])]


def find(known: Iterable[Figure], method: str, data: str, shots: int) -> Figure | None:
    """The figure of a method on a data set with that many shots; None without one.

    Method names and data sets are compared without capitals and signs, so `OxfordPets` is `oxford_pets`. The
    method's usual settings come before variants.
    """
    place = data if data == AVERAGE else catalog_name(data)
    fitting = [f for f in known if f.method == method and f.data == place and f.shots in (None, shots)]
    return min(fitting, key=lambda figure: bool(figure.variant), default=None)


def mean_figure(known: Sequence[Figure], method: str, data: Sequence[str], shots: int) -> Mapping[str, float]:
    """What a paper reports of a method on average over some data sets, by value; {} unless it has all of them.

    Of all eleven it is the printed average, otherwise the mean of the data sets' own figures. A harmonic mean is
    that of the averages.
    """
    places = {catalog_name(name) for name in data}
    if places == set(ELEVEN):
        whole = find(known, method, AVERAGE, shots)
        if whole is not None:
            return whole.values
    found = [find(known, method, name, shots) for name in data]
    held = [figure.values for figure in found if figure is not None]
    if len(held) < len(data) or not held:
        return {}
    shared = [key for key in held[0] if all(key in values for values in held)]
    means = {key: sum(values[key] for values in held) / len(held) for key in shared}
    for name, (one, other) in harmonic_values().items():
        if {name, one, other} <= set(means):
            means[name] = harmonic_mean(means[one], means[other])
    return means


def catalog_name(data: str) -> str:
    """The catalog's name of a data set, or the name as it is."""
    from vlprompt.data import catalog
    from vlprompt.errors import DataError

    try:
        return catalog.find(data).name
    except DataError:
        return data


@cache
def _read() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


@cache
def _all() -> tuple[Figure, ...]:
    return tuple(figure for table in _read()["tables"] for figure in _figures(table))


def _figures(table: Mapping[str, Any]) -> Iterable[Figure]:
    """The figures of one table of the file; several numbers of shots stand in lists."""
    facts = {
        key: table[key] for key in ("paper", "protocol", "backbone", "kind", "source", "sure", "variant")
    }
    shots, metrics = table["shots"], table["metrics"]
    for method, by_data in table["values"].items():
        for data, numbers in by_data.items():
            rows = zip(shots, numbers[0], strict=True) if isinstance(shots, list) else [(shots, numbers)]
            for count, row in rows:
                row = row if isinstance(row, list) else [row]
                values = {key: value for key, value in zip(metrics, row, strict=True) if value is not None}
                if values:
                    yield Figure(method=method, data=data, shots=count, values=values, **facts)
