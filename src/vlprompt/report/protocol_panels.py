"""What the figures of a protocol share: a panel for every data set, and how each method looks.

The average stands first where there are several data sets. A method with LAMM has the colour of the one without it,
and a full line where that has a broken one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from vlprompt.errors import DataError
from vlprompt.protocols import declared
from vlprompt.report.gathering import ZERO_SHOT, Key, Seeds, average, plain_name
from vlprompt.report.plots import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#6E6E6E"
# Okabe and Ito, darkened where a line on white would be faint
COLOURS = {
    ZERO_SHOT: GREY,
    "linear_probe": INK,
    "tip_adapter": "#8A6D3B",
    "tip_adapter_f": "#5B4520",
    "coop": "#0072B2",
    "cocoop": "#2F93CC",
    "proda": "#B8860B",
    "vpt": "#7A4FA3",
    "ivlp": "#A05195",
    "maple": "#D55E00",
    "ctp+tft": "#B8588F",
    "ctp": "#D98CB8",
    "tft": "#7D2C5C",
    "lamm": "#009E73",
}
MARKS = {
    ZERO_SHOT: "*",
    "linear_probe": "x",
    "tip_adapter": "1",
    "tip_adapter_f": "2",
    "coop": "o",
    "cocoop": "s",
    "proda": "p",
    "vpt": "<",
    "ivlp": ">",
    "maple": "^",
    "ctp+tft": "D",
    "ctp": "v",
    "tft": "H",
    "lamm": "P",
}
LABEL = 8  # points


def panels_of(gathered: Mapping[Key, Seeds], protocol: str) -> dict[str, dict[str, dict[int, Seeds]]]:
    """Panel title -> method -> shots -> seeds: the average first, of methods that have all data sets.

    DataError where there is nothing to show, or figures of several backbones.
    """
    if not gathered:
        raise DataError(f"no results of {protocol} to draw")
    backbones = {key.backbone for key in gathered}
    if len(backbones) > 1:
        raise DataError(
            f"results of several backbones ({', '.join(sorted(backbones))}): choose one with --backbone"
        )
    counts = {key.shots for key in gathered}
    if not declared(protocol).over_shots and len(counts) > 1:
        raise DataError(
            f"results at several shots ({', '.join(map(str, sorted(counts)))}): choose one with --shots"
        )
    by_data: dict[str, dict[str, dict[int, Seeds]]] = {}
    for key, seeds in gathered.items():
        by_data.setdefault(key.data, {}).setdefault(key.method, {})[key.shots] = seeds
    order = _order({key.method for key in gathered})
    found: dict[str, dict[str, dict[int, Seeds]]] = {}
    if len(by_data) > 1:
        means: dict[str, dict[int, Seeds]] = {}
        for method in order:
            for shots in sorted(counts):
                held = [methods.get(method, {}).get(shots) for methods in by_data.values()]
                seeds = average([one for one in held if one]) if all(held) else {}
                if seeds:
                    means.setdefault(method, {})[shots] = seeds
        if means:
            found[f"average of {len(by_data)}"] = means
    for data, methods in by_data.items():
        found[data] = {method: methods[method] for method in order if method in methods}
    return found


def _order(methods: set[str]) -> list[str]:
    from vlprompt.methods import names

    known = [ZERO_SHOT, *names()]
    places = {name: place for place, name in enumerate(known)}
    return sorted(methods, key=lambda name: (places.get(plain_name(name), len(known)), name))


def panel_grid(count: int, size: tuple[float, float] = (4.3, 3.4)) -> tuple[Figure, Sequence[Axes]]:
    """A figure of so many panels, up to four in a row."""
    columns = min(count, 4) if count != 5 else 3
    rows = -(-count // columns)
    wide = max(size[0] * columns, 5.2)
    figure = Figure(figsize=(wide, size[1] * rows + (0.6 if count == 1 else 0)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, list(grid)


def look_of(method: str) -> dict[str, Any]:
    """Colour by the wrapped method; LAMM on top: full line and filled marker."""
    name = plain_name(method)
    base = name.removesuffix("+lamm")
    wrapped = base != name or name == "lamm"
    colour = COLOURS.get(base) or f"C{sum(map(ord, base)) % 10}"
    return {
        "color": colour,
        "marker": MARKS.get(base, "X"),
        "linestyle": "-" if wrapped else "--",
        "markersize": 5,
        "markerfacecolor": colour if wrapped or MARKS.get(base, "X") in "x12*" else "white",
        "linewidth": 1.6 if wrapped else 1.3,
    }


def dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
