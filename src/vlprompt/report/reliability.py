"""How sure a run is, and whether it should be: reliability, and accuracy when the unsure pictures get no answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from vlprompt.report import html_pages as pages
from vlprompt.report.html_pages import Html, html
from vlprompt.report.plots import _STYLE as STYLE
from vlprompt.report.plots import INK, SERIES
from vlprompt.report.what_can_be_shown import Evidence
from vlprompt.runs.predictions_file import Said
from vlprompt.scoring.calibration import BINS, FEW, ece, reliability
from vlprompt.scoring.rejection import COVERAGE, coverage_curve, threshold_of
from vlprompt.temperature import HIGHEST, LOWEST

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)  # rows of the table


def arrays(said: Sequence[Said], calibrated: bool) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, correct), [N] each; without a temperature both kinds of confidence are the same."""
    values = [s.calibrated if calibrated and s.calibrated is not None else s.probability for s in said]
    return np.array(values, float), np.array([s.right for s in said], bool)


def sureness_figure(evidence: Evidence) -> Figure:
    """Left: accuracy over confidence, before and after the temperature. Right: accuracy over coverage."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=":", label="as sure as right")
        kinds: list[tuple[str, bool]] = [("as learned", False)]
        if evidence.info.calibration:
            kinds.append(("with temperature", True))
        for i, (label, calibrated) in enumerate(kinds):
            confidence, correct = arrays(evidence.said, calibrated)
            bins = reliability(confidence, correct)
            size = [20 + 260 * b.count / len(correct) for b in bins]
            x, y = [100 * b.confidence for b in bins], [100 * b.accuracy for b in bins]
            left.plot(x, y, color=SERIES[i], linewidth=1.4, linestyle="-" if i else "--")
            left.scatter(
                x,
                y,
                s=size,
                color=SERIES[i],
                alpha=0.75,
                marker="o" if i else "s",
                label=f"{label}: error {ece(confidence, correct):.1f}",
                zorder=3,
            )
        left.set(
            xlim=(-2, 102), ylim=(-2, 102), xlabel="how sure, per cent", ylabel="how often right, per cent"
        )
        left.set_title("Reliability")
        confidence, correct = arrays(evidence.said, evidence.calibrated)
        coverage, accuracy = coverage_curve(confidence, correct)
        right.step(100 * coverage, 100 * accuracy, where="post", color=SERIES[0], linewidth=1.8)
        if evidence.info.rejection and evidence.info.rejection.thresholds:
            kept = confidence >= threshold_of(evidence.info, COVERAGE)
            if kept.any():
                right.plot(
                    [100 * kept.mean()],
                    [100 * correct[kept].mean()],
                    marker="D",
                    color=SERIES[1],
                    markersize=7,
                    linestyle="none",
                    label="predict --reject",
                )
        low = 100 * float(accuracy.min()) if len(accuracy) else 0.0
        right.set(
            xlim=(0, 102),
            ylim=(max(0.0, low - 5), 102),
            xlabel="pictures that get an answer, per cent",
            ylabel="accuracy on them, per cent",
        )
        right.set_title("Accuracy when it may say unknown")
        handles, labels = left.get_legend_handles_labels()
        more = right.get_legend_handles_labels()
        legend = figure.legend([*handles, *more[0]], [*labels, *more[1]], loc="outside lower center", ncols=4)
        for handle in legend.legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_sizes([40])
    return figure


def calibration_text(evidence: Evidence) -> Html:
    """What the temperature does, in a sentence or two."""
    held = evidence.info.calibration
    confidence, correct = arrays(evidence.said, calibrated=False)
    mean, right = 100 * confidence.mean(), 100 * correct.mean()
    gap = mean - right
    tone = (
        "about as sure as it is right"
        if abs(gap) < 3
        else "surer than it is right"
        if gap > 0
        else "less sure than it is right"
    )
    said = [f"As learned it is {tone}: {mean:.0f} % sure on average, {right:.0f} % right."]
    if held is None:
        said.append("No temperature was fitted, because there were no validation pictures.")
        return Html(html(" ".join(said)))
    t, errors = held.temperature, held.ece.get(evidence.reported or "")
    if errors:
        said.append(
            f"A temperature of {t:.2f}, fitted on {held.count} validation pictures, changes the calibration "
            f"error from {errors[0]:.1f} to {errors[1]:.1f} points and no answer."
        )
    said.append("It is applied." if held.applied else "It is not applied; fit --calibrate applies it.")
    if t in (LOWEST, HIGHEST):
        said.append("It lies at the end of its range, so these pictures say little about it.")
    elif held.count < FEW:
        said.append(f"So few pictures ({held.count}) give a rough guess only.")
    if evidence.reported == held.fitted_on:
        said.append("The figures are of the pictures it was fitted on, and so too good.")
    return Html(html(" ".join(said)))


def coverage_table(evidence: Evidence) -> Html:
    """Coverage asked for on validation pictures, and what came of it on the scored ones."""
    if not evidence.info.rejection or not evidence.info.rejection.thresholds:
        return Html(
            "<p class=missing>No threshold was chosen, because there were no validation pictures.</p>"
        )
    confidence, correct = arrays(evidence.said, evidence.calibrated)
    rows = []
    for wanted in COVERAGES:
        least = threshold_of(evidence.info, wanted)
        kept = confidence >= least
        known = f"{100 * correct[kept].mean():.1f}" if kept.any() else ""
        caught = (
            f"{100 * (~kept & ~correct).sum() / max(1, (~correct).sum()):.0f}" if (~correct).any() else ""
        )
        rows.append([f"{100 * wanted:.0f} %", f"{least:.3f}", f"{100 * kept.mean():.1f}", known, caught])
    header = ["asked for", "least probability", "answered, %", "accuracy on these, %", "mistakes avoided, %"]
    return pages.table(
        header, rows, caption=f"Threshold chosen on validation, tried on {evidence.reported} pictures."
    )


def sureness_part(evidence: Evidence, figure_svg: str) -> Html:
    """The section: figure, two sentences, and the table of coverages."""
    caption = (
        f"{len(evidence.said)} {evidence.reported} pictures, {BINS} bins; the larger a mark, the more pictures. "
        "Right: only the surest get an answer."
    )
    return Html(
        f"<p>{calibration_text(evidence)}</p>{pages.figure(figure_svg, caption)}"
        f"<div class=scroll>{coverage_table(evidence)}</div>"
    )
