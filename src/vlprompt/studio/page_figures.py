"""What the page shows beside its buttons: thumbnails, bars, progress, curve, mistakes. Pictures lie inside the
HTML, so that no file of a session is ever served. Everything from outside is escaped."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from vlprompt.data.pictures import open_picture
from vlprompt.fitting.choosing import COMPARING
from vlprompt.report.html_pages import Html, html
from vlprompt.report.thumbnails import data_url
from vlprompt.runs.info import ChoiceInfo, RunInfo
from vlprompt.scoring.uncertainty import interval_text
from vlprompt.studio.tab_sessions import Session, Shown
from vlprompt.studio.teaching import FEWEST_ASIDE, Answer, Check, Wrong, judged_by, keepable
from vlprompt.studio.trainings import Job
from vlprompt.training.progress_bar import duration

SMALL, LARGE = 56, 168  # pixels
MOST_THUMBNAILS, MOST_UNFOLDED = 10, 60  # of a class; and when its others are asked for
MOST_BARS = 6  # classes of an answer
MOST_WRONG = 24
MOST_OPENED = 200  # mistakes, with those that are shown when asked for
MOST_REMARKS = 4
MOST_NAMES = 6  # of classes, in a sentence
FEWEST_POINTS = 2  # of a curve
NOTHING_YET = Html("<p class=soft>When something was learned, it can be downloaded here.</p>")
_pyplot = threading.Lock()  # matplotlib's settings are the process's


def thumbnail(path: Path, size: int = SMALL, words: str = "") -> Html:
    """A square picture, as an element that holds its own data. words: what those hear who do not see it."""
    small = ImageOps.fit(open_picture(path), (2 * size, 2 * size), Image.Resampling.BICUBIC)
    return Html(f'<img src="{data_url(small)}" width={size} height={size} alt="{html(words)}">')


def card(session: Session, shown: Shown) -> Html:
    """A class: name, how many pictures, and the first of them."""
    count = len(shown.pictures)
    learned = session.run is not None and shown.name in session.run.learned.task.class_names
    what = (
        f"{count} picture{'' if count == 1 else 's'}" if count else "no pictures yet: known by its name alone"
    )
    if learned:
        what = f"{what}, learned" if count else "learned earlier"
    small = [
        thumbnail(session.path(path), 44, f"picture {number} of {shown.name}")
        for number, path in enumerate(shown.pictures[:MOST_UNFOLDED], start=1)
    ]
    pictures, rest = "".join(small[:MOST_THUMBNAILS]), "".join(small[MOST_THUMBNAILS:])
    more = _opens(count - MOST_THUMBNAILS, f"<div class=row>{rest}</div>") if rest else ""
    mark = "<i class=known title=learned>✓</i>" if learned else ""
    return Html(
        f"<div class=card><b>{html(shown.name)}</b>{mark} <span>{what}</span>"
        f"<div class=row>{pictures}{more}</div></div>"
    )


def extent(first: int, shown: int, count: int) -> Html:
    """Which of the classes have their cards on the page."""
    which = f"classes {first + 1} to {first + shown}" if shown > 1 else f"class {first + 1}"
    return Html(f"<p class=soft>{which} of {count}</p>")


def remarks(said: Sequence[str]) -> Html:
    """What was left out and why, such as files that are no pictures; nothing when nothing was."""
    shown = list(dict.fromkeys(said))
    lines = "".join(f"<li>{html(text)}</li>" for text in shown[:MOST_REMARKS])
    rest = "".join(f"<li>{html(text)}</li>" for text in shown[MOST_REMARKS:])
    more = f"<li>{_opens(len(shown) - MOST_REMARKS, f'<ul>{rest}</ul>')}</li>" if rest else ""
    return Html(f"<ul class=remarks role=status>{lines}{more}</ul>" if shown else "")


def _opens(count: int, content: str) -> str:
    """A line that shows the others when it is pressed."""
    return f"<details class=others><summary>and {count} more</summary>{content}</details>"


def bars(answers: Sequence[Answer]) -> Html:
    """Every picture with the classes it is most like, zero-shot beside learned."""
    if not answers:
        return Html("")
    taught = any(answer.learned is not None for answer in answers)
    legend = '<span class="key alone">names alone</span>'
    legend += '<span class="key taught">after learning</span>' if taught else ""
    return Html(f"<div class=legend>{legend}</div>" + "".join(_bars(answer) for answer in answers))


def _bars(answer: Answer) -> str:
    leading = answer.learned if answer.learned is not None else answer.zero_shot
    rows = []
    for c in (-leading).argsort(kind="stable")[:MOST_BARS]:
        lines = _bar("alone", answer.zero_shot[c])
        if answer.learned is not None:
            lines = _bar("taught", answer.learned[c]) + lines
        rows.append(f"<tr><th>{html(answer.names[c])}</th><td>{lines}</td></tr>")
    best = answer.names[int(leading.argmax())]
    head = f"<p><b>{html(best)}</b> <span class=soft>{html(answer.picture)}</span></p>"
    return (
        f"<div class=answer>{thumbnail(answer.path, LARGE, answer.picture)}"
        f"<div>{head}<table>{''.join(rows)}</table></div></div>"
    )


def _bar(kind: str, value: float) -> str:
    return f'<div class="bar {kind}"><u><i style="width:{100 * value:.1f}%"></i></u><span>{100 * value:.0f} %</span></div>'


# -- learning --------------------------------------------------------------------------------------


def progress(job: Job, ahead: int) -> Html:
    """What a training is doing, in one line and a bar."""
    if job.state == "waiting":
        return _state(
            f"Waiting: {ahead} other training{'' if ahead == 1 else 's'} come{'s' if ahead == 1 else ''} first",
            0,
        )
    if job.state == "stopped":
        return _state("Stopped. Nothing was changed", 0)
    if job.state == "failed":
        return _state(f"That did not work: {job.error}", 0, "bad")
    if job.state == "done":
        return _state("Done", 1)
    record, extent = job.latest, job.extent
    if record.get("event") not in ("step", "epoch"):
        total = record.get("total") or 0
        looked = f" ({record['done']} of {total})" if total else ""
        what = "Comparing methods" if record.get("what") == COMPARING else "Looking at the pictures"
        return _state(f"{what}{looked}", record.get("done", 0) / total if total else 0)
    done = (record["epoch"] - 1) * extent["steps"] + record.get("step", extent["steps"])
    left = f", {duration(record['eta'])} left" if record.get("eta") else ""
    text = f"Learning: round {record['epoch']} of {extent['epochs']}, {record['accuracy']:.0f} % right so far{left}"
    return _state(text, done / (extent["epochs"] * extent["steps"]))


def _state(text: str, share: float, kind: str = "") -> Html:
    return Html(
        f'<div class="state {kind}"><span>{html(text)}</span>'
        f'<div class=track><i style="width:{100 * min(1.0, share):.1f}%"></i></div></div>'
    )


def outcome(info: RunInfo) -> Html:
    """What a finished training gave: accuracy of names alone and of what was learned."""
    found, alone = info.learned, info.zero_shot
    if found is None or alone is None:
        return Html(
            "<p>Learned. There was no picture to test with, so its accuracy is not known: try it.</p>"
        )
    count = found.count
    numbers = _number(alone.accuracy, "names alone") + _number(found.accuracy, "after learning", "main")
    if info.probe is not None:
        numbers += _number(info.probe.accuracy, "pictures alone")
    spread = interval_text(found.correct, count)
    return Html(
        f"<div class=numbers>{numbers}</div><p class=soft>right, of {count} {judged_by(info)}"
        f"{f'. So few pictures say: {spread} % right on others of the kind' if spread else ''}</p>"
        f"{_untested([(row.name, row.count) for row in found.classes])}{_choice(info.choice)}"
    )


def _choice(choice: ChoiceInfo | None) -> str:
    """What was taken where several methods were compared, or why none were."""
    if choice is None:
        return ""
    said = choice.reason or (
        f"compared were {len(choice.candidates)} ways of learning, on pictures that were held out in turn; "
        f"taken was {choice.chosen}"
    )
    return f"<p class=soft>{html(said[:1].upper() + said[1:])}.</p>"


def _untested(counts: Sequence[tuple[str, int]]) -> Html:
    """Which classes an accuracy says nothing about. counts: of the pictures of each class that it was measured on."""
    names = [name for name, count in counts if not count]
    if not names:
        return Html("")
    return remarks(
        [
            f"Not tested: {_some(names)}. There was no picture of {'it' if len(names) == 1 else 'them'} left to test "
            f"with, so the figures say nothing about {'it' if len(names) == 1 else 'them'}. Give every class "
            f"{FEWEST_ASIDE} pictures or more, and learn again"
        ]
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")


def _number(value: float, text: str, kind: str = "") -> str:
    return f'<div class="number {kind}"><b>{value:.0f} %</b><span>{text}</span></div>'


def curve(records: Sequence[Mapping[str, Any]]) -> Html:
    """Loss and accuracy by epoch; nothing before there are two."""
    if len(records) < FEWEST_POINTS:
        return Html("")
    from vlprompt.report import plots

    with _pyplot:
        svg = plots.to_svg(plots.learning_curves({"": records}), "curve", "learning curve")
    return Html(f"<div class=figure>{svg}</div>")


# -- how good it is ----------------------------------------------------------------------------------


def checked(found: Check) -> Html:
    """Accuracy beside zero-shot, the pictures it gets wrong, and what is taken for what."""
    from vlprompt.report import plots

    numbers = _number(found.zero_shot.accuracy, "names alone") + _number(
        found.learned.accuracy, "after learning", "main"
    )
    parts = [
        f"<div class=numbers>{numbers}</div><p class=soft>right, of {found.learned.count} {found.judged}</p>"
    ]
    parts.append(_untested([(row.name, row.count) for row in found.learned.classes]))
    wrong = found.wrong[:MOST_WRONG]
    parts.append(f"<h3>{'Pictures it gets wrong' if wrong else 'It gets every one of them right'}</h3>")
    parts.append(_mistakes(wrong))
    if rest := found.wrong[MOST_WRONG:MOST_OPENED]:
        parts.append(_opens(len(found.wrong) - len(wrong), _mistakes(rest)))
    if wrong:
        parts.append(
            "<p class=soft>Is one of them in the wrong class? Press <b>Correct</b> on the class that it lies in and move it.</p>"
        )
    names = [row.name for row in found.learned.classes]
    with _pyplot:
        svg = plots.to_svg(
            plots.confusion_matrix(found.learned.confusion, names), "confusion", "confusion matrix"
        )
    parts.append(
        f"<h3>What is taken for what</h3><div class='figure square'>{svg}</div>"
        "<p class=soft>A row for each class as it is; blue squares are right answers, orange ones mistakes.</p>"
    )
    return Html("".join(parts))


def _mistakes(wrong: Sequence[Wrong]) -> str:
    return (
        "<div class=wrong>"
        + "".join(
            f"<div>{thumbnail(one.path, 96, f'a picture of {one.true}')}<span>is <b>{html(one.true)}</b></span>"
            f"<span>taken for <b>{html(one.said)}</b></span><span class=soft>{100 * one.sure:.0f} % sure</span></div>"
            for one in wrong
        )
        + "</div>"
    )


def kept(place: Path) -> Html:
    """Where a run was kept on this machine."""
    return Html(
        f"<p>Kept in <code>{html(str(place))}</code>. It can be opened again below, also after a restart.</p>"
    )


def download_link(session: Session) -> Html:
    """The link to the run as a zip, and what it leaves out; its address is the session's secret."""
    held = keepable(session)
    if held is None:
        return NOTHING_YET
    run, left_out = held
    why = f"is left out: it was not learned, and {run.learned.facts.title} cannot take it by its name alone"
    without = remarks([f'"{name}" {why}' for name in left_out])
    return Html(
        f'<p><a class=download download="vlprompt-run.zip" href="/studio/run/{session.token}.zip">'
        f"Download what was learned</a></p><p class=soft>A small zip file: {html(_some(run.class_names))}. It opens here again, and "
        "unpacked it works with <code>vlprompt predict</code>, <code>report</code>, <code>export</code>, "
        "<code>serve</code> and in Python. The pictures are not in it.</p>" + without
    )
