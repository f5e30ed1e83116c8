"""Accuracy on base classes against accuracy on new ones: every method is a point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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

WIDE, TALL = 4.3, 3.9  # inches of a panel
BEYOND = 103.0  # per cent: where axes end at the latest, so that a point at 100 is seen whole
Box = tuple[float, float, float, float]  # left, bottom, right, top; shares of the axes


def base_new_plane(records: Iterable[Mapping[str, Any]], averages: bool = False) -> Figure:
    """base_to_new: every method as a point, with its deviation over seeds; grey lines have the same harmonic mean."""
    gathered = gather(record for record in records if record["protocol"] == "base_to_new")
    chosen = panels_of(gathered, "base_to_new", averages)
    with rc_context(STYLE):
        figure, grid = panel_grid(len(chosen), size=(WIDE, TALL))
        for axes, (data, methods) in zip(grid, chosen.items(), strict=False):
            points = {method: cells(next(iter(by_shots.values()))) for method, by_shots in methods.items()}
            for method, held in points.items():
                base, new = held["base"], held["new"]
                look = look_of(method)
                filled = look["color"] if look["markerfacecolor"] != "white" else "white"
                axes.errorbar(
                    base.mean,
                    new.mean,
                    xerr=base.std or None,
                    yerr=new.std or None,
                    fmt=look["marker"],
                    color=look["color"],
                    markerfacecolor=filled,
                    markersize=11 if plain_name(method) == ZERO_SHOT else 7,
                    elinewidth=0.9,
                    capsize=0,
                    zorder=3,
                )
            axes.margins(0.16)
            _harmonic_lines(axes)
            dress(axes, data, "base classes, per cent", "new classes, per cent")
            _name_points(axes, {method: (held["base"], held["new"]) for method, held in points.items()})
    return figure


def _harmonic_lines(axes: Axes) -> None:
    """Lines of equal harmonic mean, at round values."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    right, high = min(right, BEYOND), min(high, BEYOND)
    axes.set(xlim=(left, right), ylim=(low, high))
    ends = [2 * b * n / (b + n) for b, n in ((max(left, 1), max(low, 1)), (right, high))]
    every = next(step for step in (0.5, 1, 2, 5, 10, 20, 50) if (ends[1] - ends[0]) / step <= 6)
    base = np.linspace(max(left, 0.1), right, 200)
    for mean in np.arange(np.ceil(ends[0] / every) * every, min(ends[1], 100.0), every):
        with np.errstate(divide="ignore"):
            new = mean * base / (2 * base - mean)
        inside = (base > mean / 2) & (new >= low) & (new <= high)
        if inside.sum() > 3:
            axes.plot(base[inside], new[inside], color=FAINT, linewidth=1, zorder=0)
            last = np.flatnonzero(inside)[-1]
            if last == len(base) - 1:  # leaves at the right
                axes.annotate(
                    f"HM {mean:g}",
                    (right, new[last]),
                    xytext=(3, 0),
                    textcoords="offset points",
                    fontsize=7,
                    color=GREY,
                    va="center",
                    annotation_clip=False,
                )
            elif base[last] > left + 0.12 * (right - left):
                axes.text(base[last], low, f"HM {mean:g} ", fontsize=7, color=GREY, ha="right", va="bottom")
    axes.grid(visible=False)


def _name_points(axes: Axes, points: Mapping[str, tuple[Cell, Cell]]) -> None:
    """Names beside the points, to the side where fewest points, bars and other names are."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    taken: list[Box] = []
    for x, y in points.values():
        for wide, tall in ((0.02, 0.025), (x.std / (right - left), 0.006), (0.005, y.std / (high - low))):
            across, up = (x.mean - left) / (right - left), (y.mean - low) / (high - low)
            taken.append((across - wide, up - tall, across + wide, up + tall))
    letter = 0.094 / WIDE
    for method, (x, y) in points.items():
        label = label_of(method)
        across, up = (x.mean - left) / (right - left), (y.mean - low) / (high - low)
        boxes = [_box(across, up, letter * max(1, len(label)), side) for side in _SIDES]
        clashes = [sum(_overlap(box, other) for other in taken) + 5 * _outside(box) for box in boxes]
        best = clashes.index(min(clashes))
        taken.append(boxes[best])
        ha, va, dx, dy = _SIDES[best]
        axes.text(
            across + dx,
            up + dy,
            label,
            transform=axes.transAxes,
            ha=ha,
            va=va,
            fontsize=LABEL + 0.5,
            color=look_of(method)["color"],
            fontweight="bold" if is_wrapped(method) else "normal",
        )


def _box(x: float, y: float, wide: float, side: tuple[str, str, float, float]) -> Box:
    """Where a name lies that is put to a side of a point, in shares of the axes."""
    ha, va, dx, dy = side
    x += dx - wide * {"left": 0.0, "center": 0.5, "right": 1.0}[ha]
    y += dy - 0.045 * {"bottom": 0.0, "center": 0.5, "top": 1.0}[va]
    return x, y, x + wide, y + 0.045


_SIDES = (
    ("left", "center", 0.03, 0.0),
    ("left", "bottom", 0.02, 0.012),
    ("left", "top", 0.02, -0.012),
    ("right", "center", -0.03, 0.0),
    ("right", "bottom", -0.02, 0.012),
    ("right", "top", -0.02, -0.012),
    ("center", "bottom", 0.0, 0.03),
    ("center", "top", 0.0, -0.03),
    ("left", "bottom", 0.03, 0.06),
    ("left", "top", 0.03, -0.06),
    ("right", "bottom", -0.03, 0.06),
    ("right", "top", -0.03, -0.06),
)


def _overlap(a: Box, b: Box) -> float:
    """Shared area of two boxes, as a share of the first."""
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    tall = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return wide * tall / ((a[2] - a[0]) * (a[3] - a[1]))


def _outside(a: Box) -> float:
    return 1 - _overlap(a, (0.0, 0.0, 1.0, 1.0))
