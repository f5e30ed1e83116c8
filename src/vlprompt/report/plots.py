"""Figures: learning curves, methods side by side, confusion matrix. Matplotlib without pyplot or a display.

Colours are told apart by colour-blind readers too (Okabe and Ito), and every series has its own marker
or dash. `to_svg` leaves the colours to the page around it, so that one figure serves light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from vlprompt.files import write_atomically
from vlprompt.report.fonts import families, shortened, width, without_complaints
from vlprompt.report.run_tables import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#3FA0D8", "#6E6E6E")
INK, FAINT, PAPER = "#1b1f24", "#d5d9de", "#ffffff"
# What a figure's colours become in a page: CSS variables of assets/pages/style.css.
VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--line)",
    PAPER: "var(--paper)",
    **{colour: f"var(--series-{i})" for i, colour in enumerate(SERIES, start=1)},
}
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MOST_CLASSES = 50  # of a confusion matrix; beyond, those with most mistakes are shown
MATRIX_POINTS = 9  # size of its names
MOST_NUMBERS = 16  # classes of a confusion matrix with numbers in its squares
# Opacity of a square under a number: in a page its colour is light on dark paper and dark on light paper, as the ink is,
# so that only squares that are not full leave the ink a contrast of 4.5 in both.
STRONGEST_UNDER_TEXT = 0.55
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vlprompt",
    "font.size": 10,
    "font.family": list(families()),
    "text.parse_math": False,  # a name may hold $
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": FAINT,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


def learning_curves(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], *, levels: Mapping[str, float] | None = None
) -> Figure:
    """Loss and training accuracy by epoch.

    curves: per method, the records of its epochs ("epoch", "loss", "accuracy", "val_accuracy" if measured).
    levels: horizontal lines in the accuracy, per cent by name (zero-shot, test).
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        several = len(curves) > 1
        for i, (name, records) in enumerate(curves.items()):
            look = _look(i, len(records)) if several else _look(0, len(records))
            epochs = [r["epoch"] / (records[-1]["epoch"] if several else 1) for r in records]
            label = shortened(name) if several else "training"
            left.plot(epochs, [r["loss"] for r in records], label=label, **look)
            right.plot(epochs, [r["accuracy"] for r in records], label=label, **look)
            measured = [
                (e, r["val_accuracy"]) for e, r in zip(epochs, records, strict=True) if "val_accuracy" in r
            ]
            if measured and not several:
                right.plot(*zip(*measured, strict=True), label="validation", **_look(1, len(measured)))
        for i, (name, level) in enumerate((levels or {}).items()):
            right.axhline(level, color=SERIES[(i + 2) % len(SERIES)], linestyle=DASHES[1 + i % 3], label=name)
        across = "part of the training" if several else "epoch"
        _label(left, "Loss", across, "mean loss")
        _label(right, "Accuracy on the training pictures", across, "per cent")
        highest = max(
            [r["accuracy"] for records in curves.values() for r in records] + list((levels or {}).values())
        )
        right.set_ylim(0, 102 if highest > 60 else max(10.0, 1.25 * highest))
        if not several:
            for axes in (left, right):
                axes.xaxis.get_major_locator().set_params(integer=True)
        handles, labels = right.get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6))
    return figure


def _look(i: int, points: int) -> dict[str, Any]:
    every = max(1, points // 8)
    return {
        "color": SERIES[i % len(SERIES)],
        "linestyle": DASHES[i // len(SERIES) % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
        "markersize": 4.5,
        "markevery": every,
        "linewidth": 1.6,
    }


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def method_bars(
    values: Mapping[str, Cell],
    *,
    reference: float | None = None,
    title: str = "",
    groups: Mapping[str, Mapping[str, Cell]] | None = None,
) -> Figure:
    """Accuracy per method, with its deviation over seeds where there are several.

    values: per cent by method. reference: zero-shot, a dashed line. groups: several values per method
    ("base", "new", ...) side by side instead of one.
    """
    held = groups or {"accuracy": values}
    names = list(next(iter(held.values())))
    with rc_context(_STYLE):
        wide = max(
            5.0,
            1.3 * len(names) * (1 + 0.3 * (len(held) - 1)),
            0.11 * sum(min(len(name), 20) for name in names),
        )
        figure = Figure(figsize=(wide, 3.4), layout="constrained")
        axes = figure.subplots()
        width = 0.72 / len(held)
        for g, (group, cells) in enumerate(held.items()):
            places = np.arange(len(names)) + (g - (len(held) - 1) / 2) * width
            heights = [cells[name].mean if name in cells else 0.0 for name in names]
            spread = [cells[name].std if name in cells and cells[name].n > 1 else np.nan for name in names]
            label = group if len(held) > 1 else None
            bars = axes.bar(places, heights, width * 0.92, color=SERIES[g % len(SERIES)], label=label)
            axes.errorbar(places, heights, yerr=spread, fmt="none", ecolor=INK, capsize=3, linewidth=1.2)
            small = 7.5 if len(held) > 1 else 9
            tops = [h + (s if s == s else 0) for h, s in zip(heights, spread, strict=True)]
            for bar, height, top in zip(bars, heights, tops, strict=True):
                axes.annotate(
                    f"{height:.1f}",
                    (bar.get_x() + bar.get_width() / 2, top),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=small,
                )
        if reference is not None:
            axes.axhline(
                reference, color=SERIES[1], linestyle="--", linewidth=1.4, label=f"zero-shot {reference:.1f}"
            )
        axes.set_xticks(range(len(names)), [shortened(name, points=10) for name in names])
        axes.grid(axis="x", visible=False)
        _label(axes, title, "", "per cent")
        axes.margins(y=0.14)
        if len(held) > 1 or reference is not None:
            figure.legend(loc="outside lower center", ncols=4)
    return figure


def confusion_matrix(confusion: np.ndarray, names: Sequence[str]) -> Figure:
    """Which classes are taken for which: rows are true classes, shades are shares of a row.

    confusion: [C, C] counts. Of many classes, those with most mistakes are shown.
    """
    shown = worst_classes(confusion)
    counts = confusion[np.ix_(shown, shown)]
    share = counts / np.maximum(confusion[shown].sum(1, keepdims=True), 1)
    labels = [shortened(names[i], points=MATRIX_POINTS) for i in shown]
    n = len(shown)
    strongest = STRONGEST_UNDER_TEXT if n <= MOST_NUMBERS else 1.0
    longest = max((width(label, MATRIX_POINTS) for label in labels), default=0.0)
    side = max(2.2, longest + 0.8) + 0.17 * max(n, 8)
    with rc_context({**_STYLE, "axes.grid": False, "font.size": MATRIX_POINTS}):
        figure = Figure(figsize=(side + 0.4, side), layout="constrained")
        axes = figure.subplots()
        for row, column in zip(*np.nonzero(counts), strict=True):
            right = shown[row] == shown[column]
            _square(
                axes,
                column,
                row,
                SERIES[0] if right else SERIES[1],
                0.15 + (strongest - 0.15) * share[row, column],
            )
            if n <= MOST_NUMBERS:
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8)
        axes.set_xlim(-0.5, n - 0.5)
        axes.set_ylim(n - 0.5, -0.5)
        axes.set_xticks(range(n), labels, rotation=90)
        axes.set_yticks(range(n), labels)
        axes.tick_params(length=0)
        axes.set_aspect("equal")
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_color(FAINT)
    return figure


def _square(axes: Axes, x: int, y: int, colour: str, alpha: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="none", alpha=float(alpha))
    )


def worst_classes(confusion: np.ndarray, most: int = MOST_CLASSES) -> list[int]:
    """All classes, or the `most` with most mistakes, in label order."""
    if len(confusion) <= most:
        return list(range(len(confusion)))
    wrong = confusion.sum(1) + confusion.sum(0) - 2 * np.diag(confusion)
    return sorted(np.argsort(-wrong, kind="stable")[:most].tolist())


def to_png(figure: Figure, path: Path, dpi: int = 150) -> Path:
    """Writes the figure whole, of the kind that the path ends in, and gives the path. dpi: of kinds made of points."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    with rc_context(_STYLE), without_complaints():
        figure.savefig(drawn, dpi=dpi, format=path.suffix[1:] or "png")
    write_atomically(path, drawn.getvalue())
    return path


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an SVG element for a page. name: prefix of its ids; label: what readers hear."""
    text = io.StringIO()
    with rc_context(_STYLE), without_complaints():
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, variable in VARIABLES.items():
        svg = re.sub(re.escape(colour), variable, svg, flags=re.I)
    # any other colour goes a little towards the ink, so that it stands out on light and on dark paper
    svg = re.sub(
        r"((?:fill|stroke): ?)(#[0-9a-f]{6})", r"\1color-mix(in srgb, \2 70%, var(--ink))", svg, flags=re.I
    )
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{label}">',
        svg,
        count=1,
    )
    return svg.strip()
