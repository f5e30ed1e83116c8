"""What the figures of a protocol share: a panel for every data set, and how each method looks.

The average stands first where there are several data sets. A method with LAMM has the colour of the one without it,
and a full line where that has a broken one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from vlprompt.errors import DataError, OptionError
from vlprompt.methods import facts_of, without_wrappers, wrapper_names
from vlprompt.protocols import declared
from vlprompt.report.fonts import shortened
from vlprompt.report.gathering import ZERO_SHOT, Key, Seeds, average, plain_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#6E6E6E"
LABEL = 8  # points
LONGEST_TITLE, LONGEST_LABEL = 3.9, 2.2  # inches


def panels_of(
    gathered: Mapping[Key, Seeds], protocol: str, averages: bool = False
) -> dict[str, dict[str, dict[int, Seeds]]]:
    """Panel title -> method -> shots -> seeds: the average first, of methods that have all data sets.

    averages: it alone, and OptionError where there is none. DataError where there is nothing to show, or figures of several backbones.
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
    if averages:
        if not found:
            raise OptionError("--averages: no method was run on more than one data set with the same seeds")
        return found
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


def is_wrapped(method: str) -> bool:
    """Whether a wrapper such as LAMM is on top, or alone."""
    name = plain_name(method)
    return name in wrapper_names() or without_wrappers(name) != name


def look_of(method: str) -> dict[str, Any]:
    """Colour and marker by the wrapped method's facts (Okabe and Ito's colours, darkened where a line on white would be
    faint); with a wrapper on top: full line and filled marker."""
    base = without_wrappers(plain_name(method))
    facts, wrapped = facts_of("zeroshot" if base == ZERO_SHOT else base), is_wrapped(method)
    colour = facts.colour if facts is not None and facts.colour else f"C{sum(map(ord, base)) % 10}"
    marker = facts.marker if facts is not None else "X"
    return {
        "color": colour,
        "marker": marker,
        "linestyle": "-" if wrapped else "--",
        "markersize": 5,
        "markerfacecolor": colour if wrapped or marker in "x12*" else "white",
        "linewidth": 1.6 if wrapped else 1.3,
    }


def label_of(method: str) -> str:
    """The method's name beside its line or point."""
    return shortened(method, inches=LONGEST_LABEL, points=LABEL)


def dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(shortened(title, inches=LONGEST_TITLE, points=11))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
