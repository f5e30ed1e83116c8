"""Accuracy over shots, and over the sessions in which classes arrive; names stand at the ends of the lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from vlprompt.report.gathering import ZERO_SHOT, Cell, cells, gather, plain_name
from vlprompt.report.plots import _STYLE as STYLE
from vlprompt.report.plots import FAINT
from vlprompt.report.protocol_panels import (
    GREY,
    LABEL,
    dress,
    is_wrapped,
    label_of,
    look_of,
    panel_grid,
    panels_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
POINTS = 2.4 * 72  # about the height of a panel's axes


@dataclass(frozen=True)
class Series:
    """One method in one panel: mean and deviation at each place."""

    method: str
    x: tuple[float, ...]
    cells: tuple[Cell, ...]

    @property
    def y(self) -> list[float]:
        return [cell.mean for cell in self.cells]


def shot_curves(records: Iterable[Mapping[str, Any]], averages: bool = False) -> Figure:
    """few_shot: accuracy over the number of shots, as LAMM's figure shows it; zero-shot is a level line."""
    gathered = gather(r for r in records if r["protocol"] == "few_shot" and r.get("shots", 0) > 0)
    panels: dict[str, list[Series]] = {}
    for data, methods in panels_of(gathered, "few_shot", averages).items():
        for method, by_shots in methods.items():
            places = sorted(by_shots)
            at = [cells(by_shots[k])["accuracy"] for k in places]
            panels.setdefault(data, []).append(Series(method, tuple(map(float, places)), tuple(at)))
    shots = sorted({x for series in panels.values() for one in series for x in one.x})
    with rc_context(STYLE):
        figure, grid = panel_grid(len(panels))
        for axes, (data, series) in zip(grid, panels.items(), strict=False):
            for one in series:
                if plain_name(one.method) == ZERO_SHOT:
                    level = one.cells[-1].mean
                    axes.axhline(level, color=GREY, linestyle=":", linewidth=1.2, zorder=1)
            lines = [one for one in series if plain_name(one.method) != ZERO_SHOT]
            _lines(axes, lines)
            axes.set_xscale("log", base=2)
            axes.set_xticks(shots, [f"{k:.0f}" for k in shots])
            axes.minorticks_off()
            dress(axes, data, "training pictures per class", "accuracy, per cent")
            ends = [(one.method, one.x[-1], one.y[-1]) for one in lines]
            ends += [
                (one.method, shots[-1], one.cells[-1].mean)
                for one in series
                if plain_name(one.method) == ZERO_SHOT
            ]
            _name_ends(axes, ends)
    return figure


def forgetting_curves(records: Iterable[Mapping[str, Any]], averages: bool = False) -> Figure:
    """class_incremental: above, accuracy on the classes of the first session while later ones arrive; below, on
    all classes seen so far."""
    flat = []
    for record in records:
        if record["protocol"] != "class_incremental":
            continue
        first = {f"first_{i}": row[0] for i, row in enumerate(record.get("matrix") or (), start=1)}
        flat.append({**record, **first})
    gathered = gather(flat)
    chosen = panels_of(gathered, "class_incremental", averages)
    with rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 4.1 * len(chosen), 6.4), layout="constrained")
        grid = figure.subplots(2, len(chosen), squeeze=False, sharex="col")
        for column, (data, methods) in enumerate(chosen.items()):
            rows = (("first_", "classes of the first session"), ("session_", "all classes seen so far"))
            for axes, (prefix, title) in zip(grid[:, column], rows, strict=True):
                series = []
                for method, by_shots in methods.items():
                    held = cells(next(iter(by_shots.values())))
                    steps = [key for key in held if key.startswith(prefix)]
                    if steps:
                        places = tuple(float(key.removeprefix(prefix)) for key in steps)
                        series.append(Series(method, places, tuple(held[key] for key in steps)))
                _lines(axes, series)
                axes.xaxis.get_major_locator().set_params(integer=True)
                dress(
                    axes,
                    f"{data}: {title}" if data else title,
                    "session" if prefix == "session_" else "",
                    "accuracy, per cent",
                )
                _name_ends(axes, [(one.method, one.x[-1], one.y[-1]) for one in series])
    return figure


def _lines(axes: Axes, series: Sequence[Series]) -> None:
    for one in series:
        look = look_of(one.method)
        axes.plot(one.x, one.y, zorder=3 if look["linestyle"] == "-" else 2, **look)
        spread = np.array([cell.std for cell in one.cells])
        if spread.any():
            low, high = np.array(one.y) - spread, np.array(one.y) + spread
            axes.fill_between(one.x, low, high, color=look["color"], alpha=0.1, linewidth=0)


def _name_ends(axes: Axes, ends: Sequence[tuple[str, float, float]]) -> None:
    """Names to the right of the lines' ends, moved apart where they would overlap."""
    if not ends:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    step = (high - low) * (LABEL + 1.5) / POINTS
    ordered = sorted(ends, key=lambda end: end[2])
    places = _apart([end[2] for end in ordered], step, low, high)
    right = max(x for _, x, _ in ends)
    for (method, x, y), place in zip(ordered, places, strict=True):
        shown = f"{label_of(method)} {y:.1f}"
        axes.annotate(
            shown,
            (x, y),
            xytext=(1.04, (place - low) / (high - low)),
            textcoords="axes fraction",
            fontsize=LABEL,
            color=look_of(method)["color"],
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": FAINT,
                "linewidth": 0.7,
                "shrinkA": 0,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
            fontweight="bold" if is_wrapped(method) else "normal",
        )
    axes.set_xlim(
        right=right * 1.06 if axes.get_xscale() == "log" else right + 0.02 * (right - axes.get_xlim()[0])
    )


def _apart(values: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """The rising values moved so that neighbours are a step apart and all stay inside, if they fit."""
    step = min(step, (high - low) / max(1, len(values) - 1))
    places = list(values)
    for _ in range(100):
        for i in range(1, len(places)):
            lack = max(0.0, step - (places[i] - places[i - 1]))
            places[i - 1] -= lack / 2
            places[i] += lack / 2
        for i in reversed(range(len(places))):  # down from the top
            places[i] = min(places[i], high - (len(places) - 1 - i) * step)
        for i in range(len(places)):  # up from the bottom
            places[i] = max(places[i], low + i * step)
    return places
