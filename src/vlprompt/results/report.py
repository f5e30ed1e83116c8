"""write_report: one self-contained page about a run, from what its folder holds. No backbone is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vlprompt.results import pages
from vlprompt.results.pages import Html, html
from vlprompt.results.records import read_log, read_run

NAME = "report.html"
MOST_PAIRS = 15  # confusions named in words


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Writes the page of a run, report.html in its folder if not told otherwise; returns where it lies.

    RunError for a folder without a finished run.
    """
    info = read_run(folder)
    path = out if out is not None else folder / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(run_page(info, read_log(folder / "log.jsonl")), encoding="utf-8")
    return path


def run_page(info: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """The whole page as HTML."""
    reported = info.get("reported")
    learned, zero_shot = info["scores"].get(reported or ""), info["scores"].get("zero_shot")
    heading = f"{info.get('title') or info['method']} on {info['data']['name']}"
    body = pages.fill(
        "run.html", heading=heading, subtitle=subtitle(info), split=reported or "test",
        numbers=numbers(info, learned, zero_shot), notices=pages.notes(info.get("notices", [])),
        curves=curves(info, log, learned, zero_shot), classes=classes(learned, zero_shot),
        confusions=confusions(learned, info["class_names"]), command=command(info), settings=settings(info),
    )  # fmt: skip
    return pages.page(heading, body)


def subtitle(info: dict[str, Any]) -> str:
    data = info["data"]
    shots = f"{info.get('shots') or 'all'} training pictures of each of {len(info['class_names'])} classes"
    return f"{shots}, {data.get('test', 0)} test pictures; backbone {info['backbone']['source']}; {info.get('created', '')[:10]}"


def numbers(info: dict[str, Any], learned: dict[str, Any] | None, zero_shot: dict[str, Any] | None) -> Html:
    """The figures that matter, zero-shot first."""
    found: list[Html] = []
    if zero_shot is not None:
        found.append(pages.number(f"{zero_shot['accuracy']:.1f} %", "zero-shot, the names alone"))
    if learned is not None:
        more: Any = ""
        if zero_shot is not None and info["method"] != "zeroshot":
            change = learned["accuracy"] - zero_shot["accuracy"]
            more = Html(f'<span class={"good" if change >= 0 else "bad"}>({pages.signed(change)})</span>')
        found.append(pages.number(f"{learned['accuracy']:.1f} %", f"accuracy after {info.get('title')}", main=True, more=more))
        before = f"(zero-shot {zero_shot['macro_f1']:.1f})" if zero_shot is not None else ""
        found.append(pages.number(f"{learned['macro_f1']:.1f} %", "macro F1", more=before))
    if info.get("timings"):
        seconds = f"{info['timings'].get('train_s', 0):.1f} s"
        learned_numbers = f"{info.get('parameters', 0):,}".replace(",", " ")
        found.append(pages.number(seconds, f"of training for {learned_numbers} learned numbers"))
    return Html("\n".join(found))


def curves(info: dict[str, Any], log: list[dict[str, Any]], learned: dict[str, Any] | None,
           zero_shot: dict[str, Any] | None) -> Html:
    """Loss and accuracy over the epochs, if there are at least two."""
    epochs = [record for record in log if record.get("event") == "epoch"]
    if len(epochs) < 2:
        return Html("")
    from vlprompt.results import plots

    levels = {}
    for name, scores in (("zero-shot, test", zero_shot), (f"{info['method']}, test", learned)):
        if scores is not None:
            levels[name] = scores["accuracy"]
    drawn = plots.learning_curves({info["method"]: epochs}, levels=levels)
    svg = plots.to_svg(drawn, "curves", "loss and accuracy by epoch")
    caption = "Mean over each epoch, on the training pictures."
    if (info.get("train") or {}).get("views") != "center":
        caption = "Training pictures are cropped and flipped at random, so their accuracy may lie below that of test pictures."
    return Html("<h2>Learning</h2>" + pages.figure(svg, caption))


def classes(learned: dict[str, Any] | None, zero_shot: dict[str, Any] | None) -> Html:
    """Every class with its change from zero-shot."""
    if learned is None:
        return Html("<p>There were no pictures to score on.</p>")
    before = {row["name"]: row["accuracy"] for row in (zero_shot or {}).get("classes", [])}
    rows = []
    for row in learned["classes"]:
        counted = row["count"] > 0
        reference = before.get(row["name"])
        change = row["accuracy"] - reference if reference is not None and counted else None
        rows.append([
            row["name"], row["count"], f"{reference:.1f}" if reference is not None and counted else "",
            f"{row['accuracy']:.1f}" if counted else "",
            (pages.swing(change), f"{change:.3f}") if change is not None else "",
            f"{row['precision']:.1f}" if counted else "", f"{row['f1']:.1f}" if counted else "",
        ])  # fmt: skip
    header = ["class", "pictures", "zero-shot", "learned", "change", "precision", "F1"]
    return pages.table(header, rows, sortable=True)


def confusion_of(scores: dict[str, Any]) -> np.ndarray:
    """[C, C] counts from the hits and the most frequent confusions of saved scores."""
    names = scores["classes"]
    matrix = np.zeros((len(names), len(names)), dtype=np.int64)
    for i, row in enumerate(names):
        matrix[i, i] = round(row["accuracy"] * row["count"] / 100)
    for true, said, count in scores.get("confusions", []):
        matrix[true, said] = count
    return matrix


def confusions(learned: dict[str, Any] | None, names: list[str]) -> Html:
    """The matrix as a picture, and the most frequent pairs in words."""
    if learned is None or not learned["count"]:
        return Html("")
    from vlprompt.results import plots

    names = [row["name"] for row in learned["classes"]]
    matrix = confusion_of(learned)
    svg = plots.to_svg(plots.confusion_matrix(matrix, names), "confusion", "confusion matrix")
    most = plots.MOST_CLASSES
    which = f" The {most} classes with most mistakes are shown." if len(names) > most else ""
    caption = f"Rows are true classes. Blue: right; orange: wrong; the stronger, the larger the share of the row.{which}"
    pairs = [
        [names[true], names[said], count, f"{100 * count / max(1, learned['classes'][true]['count']):.0f}"]
        for true, said, count in learned.get("confusions", [])[:MOST_PAIRS]
    ]
    words = pages.table(["is", "taken for", "pictures", "% of the class"], pairs, words=2) if pairs else Html("")
    return Html(f"<h2>What is taken for what</h2>{pages.figure(svg, caption, square=True)}<div class=scroll>{words}</div>")


def command(info: dict[str, Any]) -> Html:
    return Html(f"<pre>{html(info['command'])}</pre>") if info.get("command") else Html("")


def settings(info: dict[str, Any]) -> Html:
    """Everything that is needed to make the run again."""
    data, backbone, timings = info["data"], info["backbone"], info.get("timings") or {}
    task = {
        "method": info["method"], "published in": info.get("paper") or "", "shots": info.get("shots") or "all",
        "seed": info.get("seed"), "templates": "; ".join(info.get("templates", [])),
        "zero-shot templates": "; ".join(info.get("zero_shot_templates", [])),
    }  # fmt: skip
    pictures = {
        "name": data["name"], "fingerprint": data.get("fingerprint", ""), "split": data.get("split", ""),
        "pictures": ", ".join(f"{data.get(split, 0)} {split}" for split in ("train", "val", "test")),
        "skipped": data.get("skipped", 0),
    }  # fmt: skip
    towers = {key: backbone.get(key) for key in ("source", "fingerprint", "precision")}
    machine = info.get("machine") or {}
    about = {
        "machine": f"{machine.get('device', '')} {machine.get('name', '')}, {machine.get('threads', '')} threads",
        **{name.removesuffix("_s").replace("_", " "): f"{seconds:.2f} s" for name, seconds in timings.items()},
        **(info.get("versions") or {}),
    }  # fmt: skip
    tables = [("Task", task), ("Options of the method", info.get("options") or {}), ("Training", info.get("train") or {}),
              ("Pictures", pictures), ("Backbone", towers), ("Machine, time, versions", about)]  # fmt: skip
    return Html("\n".join(f"<div>{pages.facts(title, values)}</div>" for title, values in tables if values))
