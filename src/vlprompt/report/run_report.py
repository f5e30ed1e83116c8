"""write_report: one self-contained page about a run, and its figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlprompt.report import html_pages as pages
from vlprompt.report.html_pages import Html, html
from vlprompt.report.what_can_be_shown import Evidence, Probe, gather_evidence
from vlprompt.runs.info import RunInfo, ScoreInfo
from vlprompt.scoring.uncertainty import interval_text, wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vlprompt.backbones.backbone import Backbone
    from vlprompt.data.dataset import Dataset

NAME = "report.html"
MOST_PAIRS = 15  # confusions named in words, where there are no pictures
LABELS = {
    "curves": "loss and accuracy by epoch",
    "confusion": "confusion matrix",
    "sureness": "accuracy over confidence, and over the share of pictures that get an answer",
}


def write_report(
    folder: Path,
    out: Path | None = None,
    *,
    data: str | Dataset | None = None,
    backbone: str | Backbone | None = None,
    device: str = "auto",
    quick: bool = False,
    figures: bool = True,
    probe: Probe | None = None,
) -> Path:
    """Writes the page of a run, report.html in its folder if not told otherwise; returns where it lies.

    figures: put them as PNG and SVG into a folder beside it too (`figures_of`). What cannot be had (pictures, backbone) is said
    on the page. data, backbone: where they now lie, if not where fit found them. quick: from the run folder alone.
    probe: trains a linear probe for comparison (see `gather_evidence`); without it the page says that there is none.
    RunError for a folder without a finished run.
    """
    evidence = gather_evidence(folder, data=data, backbone=backbone, device=device, quick=quick, probe=probe)
    path = out if out is not None else folder / NAME
    drawn = draw(evidence)
    text = page_of(evidence, drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_page(path, text)
    if figures:
        write_figures(figures_of(path), drawn)
    return path


def figures_of(page: Path) -> Path:
    """The folder of a page's figures: report-figures beside report.html."""
    return page.with_name(f"{page.stem}-figures")


def write_page(path: Path, text: str) -> None:
    """Replaces the page at once."""
    from vlprompt.files import write_atomically

    write_atomically(path, text.encode(errors="backslashreplace"))


def write_figures(folder: Path, drawn: dict[str, Figure]) -> None:
    from vlprompt.report import plots

    if folder.is_symlink():  # of a run from elsewhere it may lead anywhere
        folder.unlink()
    for name, figure in drawn.items():
        for ending in ("png", "svg"):
            plots.to_png(figure, folder / f"{name}.{ending}")


def run_page(info: RunInfo, log: list[dict[str, Any]]) -> str:
    """The page as HTML, of what run.json and the log hold."""
    evidence = Evidence(info, log, missing={"said": "no predictions were kept", "run": "it was not loaded"})
    return page_of(evidence, draw(evidence))


def page_of(evidence: Evidence, drawn: dict[str, Figure]) -> str:
    """The whole page as HTML."""
    from vlprompt.report import plots

    info = evidence.info
    learned, zero_shot = info.scores.get(evidence.reported or ""), info.scores.get("zero_shot")
    svg = {name: plots.to_svg(figure, name, LABELS[name]) for name, figure in drawn.items()}
    heading = f"{info.shown_title} on {info.data.name}"
    body = pages.fill(
        "run.html",
        heading=heading,
        subtitle=subtitle(info),
        split=evidence.reported or "test",
        numbers=numbers(evidence, learned, zero_shot),
        margin=margin(learned),
        notices=pages.notes(info.notices),
        curves=curves(info, svg),
        mistakes=mistakes(evidence, learned),
        classes=classes(learned, zero_shot),
        confusions=confusions(evidence, learned, svg),
        sureness=sureness(evidence, svg),
        insides=insides(evidence),
        command=command(info),
        settings=settings(info),
    )
    return pages.page(heading, body)


def draw(evidence: Evidence) -> dict[str, Figure]:
    """The figures by name: curves, confusion, sureness; those for which there is something to draw."""
    from vlprompt.report import plots
    from vlprompt.report.reliability import sureness_figure

    info = evidence.info
    learned, zero_shot = info.scores.get(evidence.reported or ""), info.scores.get("zero_shot")
    found = {}
    epochs = [record for record in evidence.log if record.get("event") == "epoch"]
    if len(epochs) > 1:
        split = evidence.reported or "test"
        named = ((f"zero-shot, {split}", zero_shot), (f"{info.method}, {split}", learned))
        levels = {name: scores.accuracy for name, scores in named if scores is not None}
        found["curves"] = plots.learning_curves({info.method: epochs}, levels=levels)
    if learned is not None and learned.count:
        names = [row.name for row in learned.classes]
        found["confusion"] = plots.confusion_matrix(confusion_of(learned), names)
    if evidence.said:
        found["sureness"] = sureness_figure(evidence)
    return found


def subtitle(info: RunInfo) -> str:
    """What the run learned from, and what it was measured on."""
    data = info.data
    learned = f"{data.train} training pictures of {len(info.class_names)} classes ({info.pictures_text})"
    tested = (
        f"{data.test} test pictures"
        if data.test
        else f"measured by {info.reported}"
        if info.reported
        else "not tested"
    )
    return f"{learned}, {tested}; backbone {info.backbone.source}; {info.created[:10]}"


def numbers(evidence: Evidence, learned: ScoreInfo | None, zero_shot: ScoreInfo | None) -> Html:
    """The figures that matter, the references first."""
    info = evidence.info
    found: list[Html] = []
    if zero_shot is not None:
        found.append(pages.number(f"{zero_shot.accuracy:.1f} %", "zero-shot, the names alone"))
    if evidence.probe is not None and info.method != "linear_probe":
        found.append(
            pages.number(
                f"{evidence.probe.accuracy:.1f} %", "linear probe on the same pictures, without names"
            )
        )
    elif evidence.reported and info.method != "linear_probe":
        found.append(pages.number("–", f"linear probe: {evidence.missing.get('probe', 'not tried')}"))
    if learned is not None:
        more: Any = ""
        if zero_shot is not None and info.method != "zeroshot":
            change = learned.accuracy - zero_shot.accuracy
            more = Html(f"<span class={'good' if change >= 0 else 'bad'}>({pages.signed(change)})</span>")
        text = f"accuracy after {info.shown_title}" if info.method != "zeroshot" else "accuracy"
        if spread := interval_text(learned.correct, learned.count):
            more = Html(f"{more} <span>95 % sure: {spread}</span>")
        found.append(pages.number(f"{learned.accuracy:.1f} %", text, main=True, more=more))
        before = f"(zero-shot {zero_shot.macro_f1:.1f})" if zero_shot is not None else ""
        found.append(pages.number(f"{learned.macro_f1:.1f} %", "macro F1", more=before))
    if evidence.said:
        found.append(calibration_number(evidence))
    if info.timings:
        seconds = f"{info.timings.get('train_s', 0):.1f} s"
        learned_numbers = f"{info.parameters:,}".replace(",", "\u00a0")
        found.append(
            pages.number(seconds, f"of training for {learned_numbers} learned numbers", more=memory(info))
        )
    return Html("\n".join(found))


def calibration_number(evidence: Evidence) -> Html:
    """The calibration error in per cent, and how probabilities are to be read."""
    from vlprompt.report.reliability import arrays
    from vlprompt.scoring.calibration import ece

    error = ece(*arrays(evidence.said, evidence.calibrated))
    held = evidence.info.calibration
    if not held:
        more = ""
    elif evidence.calibrated:
        more = f"({held.ece.get(evidence.reported or '', (0.0, 0.0))[0]:.1f} without temperature)"
    else:
        more = f"({ece(*arrays(evidence.said, True)):.1f} if calibrated)"
    return pages.number(f"{error:.1f}", "points of calibration error", more=more)


def memory(info: RunInfo) -> str:
    """The peak in MiB, of the device if it has memory of its own."""
    held = info.memory
    most = held.get("device_mib", held.get("process_mib"))
    return f"within {most:.0f} MiB" if most is not None else ""


def margin(learned: ScoreInfo | None) -> str:
    """How much of a difference is chance."""
    if learned is None or not learned.count:
        return ""
    low, high = wilson(learned.correct, learned.count)
    return (
        f"One picture is {100 / learned.count:.2g} points; on other pictures of the kind the accuracy may as well be "
        f"{low:.0f} to {high:.0f} % (95 % sure)."
    )


def curves(info: RunInfo, svg: dict[str, str]) -> Html:
    """Loss and accuracy over the epochs, if there are at least two."""
    if "curves" not in svg:
        return Html("")
    caption = "Mean over each epoch, on the training pictures."
    if info.train_options is None or info.train_options.views != "center":
        caption = "Training pictures are cropped and flipped at random, so their accuracy may lie below that of test pictures."
    return Html("<h2>Learning</h2>" + pages.figure(svg["curves"], caption))


def classes(learned: ScoreInfo | None, zero_shot: ScoreInfo | None) -> Html:
    """Every class with its change from zero-shot."""
    if learned is None:
        return Html("<p>There were no pictures to score on.</p>")
    before = {row.name: row.accuracy for row in zero_shot.classes} if zero_shot is not None else {}
    rows = []
    for row in learned.classes:
        counted = row.count > 0
        reference = before.get(row.name)
        change = row.accuracy - reference if reference is not None and counted else None
        rows.append(
            [
                row.name,
                row.count,
                f"{reference:.1f}" if reference is not None and counted else "",
                f"{row.accuracy:.1f}" if counted else "",
                (pages.swing(change), f"{change:.3f}") if change is not None else "",
                f"{row.precision:.1f}" if counted else "",
                f"{row.f1:.1f}" if counted else "",
            ]
        )
    header = ["class", "pictures", "zero-shot", "learned", "change", "precision", "F1"]
    return pages.table(header, rows, sortable=True)


def confusion_of(scores: ScoreInfo) -> np.ndarray:
    """[C, C] counts from the hits and the most frequent confusions of saved scores."""
    names = scores.classes
    matrix = np.zeros((len(names), len(names)), dtype=np.int64)
    for i, row in enumerate(names):
        matrix[i, i] = round(row.accuracy * row.count / 100)
    for true, said, count in scores.confusions:
        matrix[true, said] = count
    return matrix


def mistakes(evidence: Evidence, learned: ScoreInfo | None) -> Html:
    """Confused pairs and single mistakes with their pictures."""
    from vlprompt.report.mistakes import missing_note, mistakes_part, pairs_part

    if learned is None or not learned.count:
        return Html("")
    if learned.correct == learned.count:
        return Html("<h2>Mistakes</h2><p>There are none on these pictures.</p>")
    body = f"{missing_note(evidence)}{pairs_part(evidence)}{mistakes_part(evidence)}"
    wrong = learned.count - learned.correct
    return Html(
        f"<h2>Mistakes</h2><p class=soft>{wrong} of {learned.count} pictures are wrong. "
        f"The most confused pairs first.</p>{body}"
    )


def confusions(evidence: Evidence, learned: ScoreInfo | None, svg: dict[str, str]) -> Html:
    """The matrix as a picture; the most frequent pairs in words, where they are not shown with pictures."""
    if learned is None or "confusion" not in svg:
        return Html("")
    from vlprompt.report import plots

    names, most = [row.name for row in learned.classes], plots.MOST_CLASSES
    which = f" The {most} classes with most mistakes are shown." if len(names) > most else ""
    caption = f"Rows are true classes. Blue: right; orange: wrong; the stronger, the larger the share of the row.{which}"
    words = Html("")
    pairs = [
        [names[true], names[said], count, f"{100 * count / max(1, learned.classes[true].count):.0f}"]
        for true, said, count in learned.confusions[:MOST_PAIRS]
    ]
    if pairs and not evidence.said:
        words = pages.table(["is", "taken for", "pictures", "% of the class"], pairs, words=2)
    return Html(
        f"<h2>What is taken for what</h2>{pages.figure(svg['confusion'], caption)}"
        f"<div class=scroll>{words}</div>"
    )


def sureness(evidence: Evidence, svg: dict[str, str]) -> Html:
    from vlprompt.report.reliability import sureness_part

    if "sureness" not in svg:
        return Html("")
    return Html(f"<h2>How sure it is</h2>{sureness_part(evidence, svg['sureness'])}")


def insides(evidence: Evidence) -> Html:
    from vlprompt.report.what_was_learned import insides_part

    return insides_part(evidence)


def command(info: RunInfo) -> Html:
    return Html(f"<pre>{html(info.command)}</pre>") if info.command else Html("")


def settings(info: RunInfo) -> Html:
    """Everything that is needed to make the run again."""
    data, backbone, timings = info.data, info.backbone, info.timings
    task = {
        "method": info.method,
        "published in": info.paper,
        "shots": info.shots or "all",
        "seed": info.seed,
        "templates": "; ".join(info.templates),
        "zero-shot templates": "; ".join(info.zero_shot_templates),
    }
    pictures = {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "split": data.split,
        "pictures": f"{data.train} train, {data.val} val, {data.test} test",
        "skipped": data.skipped,
    }
    towers = {key: getattr(backbone, key) for key in ("source", "fingerprint", "precision")}
    machine, held = info.machine, info.memory
    peaks = {"process_mib": "memory of the process at most", "device_mib": "memory of the device at most"}
    about = {
        "machine": f"{machine.device} {machine.name}, {machine.threads} threads",
        **{
            name.removesuffix("_s").replace("_", " "): f"{seconds:.2f} s" for name, seconds in timings.items()
        },
        **{text: f"{held[key]:.0f} MiB" for key, text in peaks.items() if key in held},
        **info.versions,
    }
    done = {"epochs made": info.training.epochs, "steps made": info.training.steps} if info.training else {}
    tables = [
        ("Task", task),
        ("Options of the method", info.options),
        ("Training", (info.train or {}) | done),
        ("Pictures", pictures),
        ("Backbone", towers),
        ("Machine, time, versions", about),
    ]
    return Html("\n".join(f"<div>{pages.facts(title, values)}</div>" for title, values in tables if values))
