"""The demo's report: one page with the table, the pictures and the curves, and the same figures as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlprompt.data.dataset import Dataset
from vlprompt.demo import demo_settings as settings
from vlprompt.demo.one_training import Job, Place, backbone_and_data
from vlprompt.demo.summary import ZERO_SHOT, Line, columns, lines_of, verdicts
from vlprompt.fitting.choosing import AUTO
from vlprompt.fitting.plan import Plan
from vlprompt.options import field_table
from vlprompt.report import html_pages as pages
from vlprompt.report import plots
from vlprompt.report.html_pages import Html
from vlprompt.report.run_report import classes, confusion_of
from vlprompt.report.thumbnails import data_url
from vlprompt.runs.info import RunInfo

Done = Sequence[tuple[Job, dict[str, Any]]]
MENDED, SPOILED = 12, 4  # pictures shown that learning put right, and that it put wrong


def write_pages(out: Path, place: Place, done: Done, seconds: float, workers: int) -> Path:
    """Writes the figures and report.html; returns where the page lies."""
    _, dataset = backbone_and_data(place)
    infos = {job.method: RunInfo.from_json(found["info"]) for job, found in done if "info" in found}
    titles = titles_of(done)
    order = [name for name in settings.METHODS if name in infos]
    lines = lines_of([found["record"] for _, found in done], titles, order)
    shown = next((found for _, found in done if "predictions" in found), None)
    figures = draw(out, done, lines, titles, order, shown)
    path = out / "report.html"
    path.write_text(
        _page(place, dataset, lines, infos, titles, order, shown, figures, seconds, workers), encoding="utf-8"
    )
    return path


def titles_of(done: Done) -> dict[str, str]:
    """Of every method; of a choice what it became is in its record."""
    return {
        job.method: AUTO if job.method == AUTO else found["info"]["title"]
        for job, found in done
        if "info" in found
    }


def draw(
    out: Path,
    done: Done,
    lines: Sequence[Line],
    titles: dict[str, str],
    order: Sequence[str],
    shown: dict[str, Any] | None,
) -> dict[str, str]:
    """The figures as PNG in the folder; as SVG for the page."""
    first = {
        job.method: found["curve"]
        for job, found in done
        if job.kind == "few_shot" and job.seed == settings.SEEDS[job.method][0]
    }
    curves = {titles[name]: first[name] for name in order if len(first.get(name, ())) > 1}
    made = {}
    learned = [line for line in lines if line.method != ZERO_SHOT]
    reference = lines[0].values["accuracy"].mean
    bars = plots.method_bars(
        {line.title: line.values["accuracy"] for line in learned},
        reference=reference,
        title="Accuracy on all classes",
    )
    made["bars"] = plots.to_svg(bars, "bars", "accuracy of every method beside zero-shot")
    plots.to_png(bars, out / "accuracy.png")
    if curves:
        figure = plots.learning_curves(curves, levels={})
        made["curves"] = plots.to_svg(figure, "curves", "loss and training accuracy of every method")
        plots.to_png(figure, out / "curves.png")
    if shown is not None:
        scores = RunInfo.from_json(shown["info"]).scores["test"]
        figure = plots.confusion_matrix(confusion_of(scores), [row.name for row in scores.classes])
        made["confusion"] = plots.to_svg(figure, "confusion", "confusion matrix")
        plots.to_png(figure, out / "confusion.png")
    return made


def _page(
    place: Place,
    dataset: Dataset,
    lines: Sequence[Line],
    infos: dict[str, RunInfo],
    titles: dict[str, str],
    order: Sequence[str],
    shown: dict[str, Any] | None,
    figures: dict[str, str],
    seconds: float,
    workers: int,
) -> str:
    header, body = columns(lines)
    accuracies = [line.values["accuracy"].mean for line in lines]
    best = max(range(1, len(lines)), key=accuracies.__getitem__)
    count = len(dataset.class_names)
    title = titles.get(place.shown, place.shown)
    info = infos[order[0]]
    heading = f"{count} kinds of groceries from {place.shots} photographs of each"
    body_html = pages.fill(
        "demo.html",
        heading=heading,
        shots=place.shots,
        classes=count,
        subtitle=f'vlprompt demo: {len(order)} methods on the backbone "{place.backbone}", '
        f"{len(dataset.items('test'))} test pictures of the Grocery Store Dataset's own test part",
        numbers=_numbers(lines, best, seconds, workers),
        table=pages.table(header, body, best=[best]),
        seeds=f"Mean ± standard deviation over three seeds for {_and([titles[n] for n in order if n in settings.QUICK])}; "
        f"one seed for {_and([titles[n] for n in order if n in settings.SLOW])}, which take longer. Seconds: both trainings "
        "of one seed, on one thread.",
        bars=pages.figure(
            figures["bars"], "Bars: mean over seeds; whiskers: standard deviation where there are several."
        ),
        verdicts=pages.notes(verdicts(lines)),
        pictures_text=_pictures_text(title),
        pictures=_pictures(dataset, shown),
        shown=title,
        curves=pages.figure(figures["curves"], "Seed 1. Every point is the mean of ten steps or more.")
        if "curves" in figures
        else "",
        confusion=pages.figure(
            figures["confusion"],
            f"{title}, seed 1, test pictures. Rows are true classes. Blue: right; "
            "orange: wrong; the stronger, the larger the share of the row.",
        )
        if "confusion" in figures
        else "",
        every_class=classes(
            RunInfo.from_json(shown["info"]).learned, RunInfo.from_json(shown["info"]).zero_shot
        )
        if shown
        else "",
        how=_how(),
        settings=_settings(infos, titles, order),
        facts=pages.facts(
            "Backbone, machine, versions",
            {
                "backbone": f"{info.backbone.source}, fingerprint {info.backbone.fingerprint[:16]}",
                "machine": f"{info.machine.device} {info.machine.name}, {workers} processes of one thread, in {place.precision}",
                "time": f"{seconds:.0f} s in all",
                **info.versions,
            },
        ),
    )
    return pages.page(f"vlprompt demo: {heading}", body_html)


def _numbers(lines: Sequence[Line], best: int, seconds: float, workers: int) -> Html:
    before, after = lines[0].values["accuracy"].mean, lines[best].values["accuracy"].mean
    return Html(
        "\n".join(
            (
                pages.number(f"{before:.1f} %", "zero-shot, the class names alone"),
                pages.number(
                    f"{after:.1f} %",
                    f"with {lines[best].title}",
                    main=True,
                    more=Html(
                        f"<span class={'good' if after >= before else 'bad'}>({pages.signed(after - before)})</span>"
                    ),
                ),
                pages.number(f"{seconds:.0f} s", f"for everything on this page, on {workers} cores"),
            )
        )
    )


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + (names[-1] if names else "none")


def _pictures_text(title: str) -> str:
    return (
        f"Test pictures on which zero-shot and {title} disagree: the first {MENDED} in the order of the files that "
        f"learning put right, one per class, and the first {SPOILED} that it put wrong."
    )


def _pictures(dataset: Dataset, shown: dict[str, Any] | None) -> Html:
    """Pictures with both answers, chosen by order and not by looks."""
    if shown is None:
        return Html("")
    names = dataset.class_names
    items = {item.path: item for item in dataset.items("test")}
    mended = _first(shown["predictions"], "learned", "zero_shot", MENDED)
    spoiled = _first(shown["predictions"], "zero_shot", "learned", SPOILED)
    cards = []
    for found in (*mended, *spoiled):
        good = found["learned"] == found["true"]
        before, after = (
            f"<span class={'good' if found[key] == found['true'] else 'bad'}>{pages.html(names[found[key]])}</span>"
            for key in ("zero_shot", "learned")
        )
        source = data_url(dataset.load(items[found["path"]]))
        cards.append(
            f'<div class=picture><img src="{source}" alt="{pages.html(names[found["true"]])}" width=64 height=64>'
            f"<div><b>{pages.html(names[found['true']])}</b>zero-shot: {before}<br>learned: {after}"
            f"{' &#10003;' if good else ' &#10007;'}</div></div>"
        )
    return Html("\n".join(cards))


def _first(predictions: Sequence[dict[str, Any]], right: str, wrong: str, most: int) -> list[dict[str, Any]]:
    """The first picture of each class on which one is right and the other wrong."""
    found: dict[int, dict[str, Any]] = {}
    for p in predictions:
        if p[right] == p["true"] != p[wrong]:
            found.setdefault(p["true"], p)
    return list(found.values())[:most]


def _how() -> Html:
    return pages.notes(
        [
            "Pictures: photographs from shops, of the Grocery Store Dataset (Klasson, Zhang, Kjellström, WACV 2019), training and "
            "test pictures within its own split.",
            "auto is what `vlprompt fit` does by itself: it compares methods by cross-validation within the training pictures, and learns all of them with the best.",
            "Learning rates were chosen on the validation pictures, from three for every method; the test pictures played no "
            "part. Batch, epochs and views are the same for all methods of a kind; they keep the demo "
            "within three minutes on two cores.",
            "Features of the frozen image tower are computed once per picture and kept. MaPLe has prompts in the image "
            "tower and so runs its blocks in every step; CoCoOp has texts of its own for every picture. Both get one epoch here, "
            "a fifth and a tenth of what their papers give them, and are far from finished: their rows say what a minute "
            "buys, not what the methods can do.",
        ]
    )


def usual(method: str) -> dict[str, Any]:
    """Default values of a method's options."""
    return {row["name"]: row["default"] for kind in Plan(method).spec.kinds for row in field_table(kind)}


def _settings(infos: dict[str, RunInfo], titles: dict[str, str], order: Sequence[str]) -> Html:
    rows = []
    for name in order:
        info = infos[name]
        train = info.train_options
        steps = (
            ["no steps", "", "", "", ""]
            if train is None
            else [train.optimizer, f"{train.lr:g}", info.epochs_done, train.batch_text, train.views]
        )
        options = ", ".join(f"{k} = {v}" for k, v in info.options.items() if v != usual(name).get(k))
        learned = f"{info.parameters:,}".replace(",", " ")
        rows.append([titles[name], options or "as usual", learned, *steps])
    return pages.table(
        [
            "method",
            "options beside the usual",
            "learned numbers",
            "optimiser",
            "lr",
            "epochs",
            "batch",
            "views",
        ],
        rows,
        words=2,
    )
