"""The page of a run: self-contained, escaped, in both colour schemes, whatever the run."""

import re
from importlib import resources

import numpy as np
import pytest

from vlprompt.report import html_pages as pages
from vlprompt.report import plots
from vlprompt.report.run_report import confusion_of, run_page
from vlprompt.report.run_tables import Cell
from vlprompt.runs.info import RunInfo, ScoreInfo
from vlprompt.scoring.evaluation import scores_of

NAMES = ['<script>alert("x")</script>', "a & b", "plain"]


def info(**more):
    labels = np.array([0, 0, 1, 1, 2, 2])
    learned = scores_of(np.array([0, 1, 1, 1, 2, 0]), labels, NAMES)
    zero_shot = scores_of(np.array([1, 1, 1, 1, 1, 1]), labels, NAMES)
    known = {
        "method": "coop",
        "title": "CoOp",
        "paper": "a paper",
        "options": {"context_init": "<b>"},
        "train": {"epochs": 2},
        "seed": 1,
        "shots": 2,
        "class_names": NAMES,
        "templates": ["a {}"],
        "zero_shot_templates": ["a {}"],
        "backbone": {"source": "tiny", "fingerprint": "abc", "precision": "float32"},
        "data": {"name": "fruit <i>", "train": 6, "val": 0, "test": 6},
        "reported": "test",
        "notices": ["<u>note"],
        "scores": {"test": learned.to_dict(), "zero_shot": zero_shot.to_dict()},
        "timings": {"train_s": 1.0},
        "parameters": 1024,
        "versions": {"torch": "2"},
        "machine": {"device": "cpu"},
        "command": "vlprompt fit '<x>'",
        "created": "2026-01-01T00:00:00",
        "task_shots": 2,
    }
    return RunInfo.from_json(known | more)


LOG = [{"event": "epoch", "epoch": i + 1, "loss": 1.0 / (i + 1), "accuracy": 40.0 + i} for i in range(3)]


@pytest.fixture(scope="module")
def page():
    return run_page(info(), LOG)


def test_nothing_outside_the_page(page):
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert "@import" not in page
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", page)


def test_everything_from_outside_is_escaped(page):
    assert '<script>alert("x")' not in page
    assert "&lt;script&gt;" in page
    for text in ("<b>", "fruit <i>", "<u>note", "<x>"):
        assert text not in page.replace("<b>50.0 %</b>", "").replace("<b>66.7", "").split("<header>")[0]
    assert "fruit &lt;i&gt;" in page
    assert "vlprompt fit &#x27;&lt;x&gt;&#x27;" in page


def test_light_and_dark(page):
    assert "prefers-color-scheme: dark" in page
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.S))
    assert "var(--series-1)" in drawings
    assert not re.search(r"(?:fill|stroke): ?#[0-9a-f]{3,6}", drawings, flags=re.I)
    used = set(re.findall(r"var\((--[\w-]+)\)", page))
    assert used <= set(re.findall(r"(--[\w-]+):", page))


def test_ids_are_unique(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_a_run_without_scores_or_training_has_a_page_too():
    bare = info(scores={}, reported=None, train=None, timings={}, command="")
    text = run_page(bare, [])
    assert "no pictures to score on" in text
    assert "<svg" not in text


def test_the_confusion_matrix_is_that_of_the_scores():
    labels, said = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    scores = scores_of(said, labels, NAMES)
    assert (confusion_of(ScoreInfo.of(scores)) == scores.confusion).all()


def test_figures_become_png(tmp_path):
    drawn = plots.method_bars({"CoOp": Cell(50, 2, 3), "LAMM": Cell(60, 0, 1)}, reference=40.0)
    assert plots.to_png(drawn, tmp_path / "bars.png").stat().st_size > 1000
    groups = {"base": {"CoOp": Cell(50, 2, 3)}, "new": {"CoOp": Cell(60, 0, 1)}}
    assert plots.to_svg(plots.method_bars({}, groups=groups), "bars", "base and new").startswith("<svg")


@pytest.mark.parametrize(
    "drawn",
    [
        plots.learning_curves({"": LOG}),
        plots.method_bars({"CoOp": Cell(50, 2, 3)}),
        plots.confusion_matrix(np.eye(5, dtype=int), "abcde"),
    ],
)
def test_a_figure_keeps_its_size_and_legible_letters(drawn):
    shown = pages.figure(plots.to_svg(drawn, "x", "a figure"), "said below")
    most, least = (int(re.search(rf"{name}-width:(\d+)px", shown)[1]) for name in ("max", "min"))
    width = (
        72 * drawn.get_size_inches()[0]
    )  # in the figure's own units, of which its letters are so many high
    own = 96 * drawn.get_size_inches()[0]
    letters = min(map(float, re.findall(r"font-size: ([\d.]+)px", shown)))
    assert 0.99 * own < most < 1.11 * own
    assert least * letters / width >= 9
    assert "<div class=scroll><svg" in shown and shown.index("</svg></div>") < shown.index("said below")


def test_what_scrolls_shows_that_it_does(page):
    rule = re.search(r"\n\.scroll \{(.*?)\n\}", page, flags=re.S)[1]
    assert (
        "overflow-x: auto" in rule and " local" in rule and "background: var(--covers), var(--sides)" in rule
    )


def themes():
    """The colours of the pages' style by name, in light and in dark."""
    css = resources.files("vlprompt.assets.pages").joinpath("style.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", css.split(":root {")[i].split("}")[0]))
        for i in (1, 2)
    )
    return light, light | dark


def contrast(one, two):
    """Of two colours, 1 to 21, as WCAG defines it."""
    linear = np.asarray([one, two]) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", themes(), ids=["light", "dark"])
def test_numbers_stand_out_from_their_squares(theme):
    shares = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [9, 0, 0, 1]])
    names = ["a", "b", "c", "d"]
    svg = plots.to_svg(plots.confusion_matrix(shares, names), "confusion", "confusion matrix")
    squares = re.findall(r'style="fill: var\(--(series-[12])\); opacity: ([\d.]+)', svg)
    squares += [(name, "1") for name in re.findall(r'style="fill: var\(--(series-[12])\)"', svg)]
    rgb = {name: np.array([int(value[i : i + 2], 16) for i in (1, 3, 5)]) for name, value in theme.items()}
    assert len(squares) == np.count_nonzero(shares) and {name for name, _ in squares} == {
        "series-1",
        "series-2",
    }
    for name, opacity in squares:
        colour = float(opacity) * rgb[name] + (1 - float(opacity)) * rgb["paper"]
        assert contrast(colour, rgb["ink"]) >= 4.5  # the numbers are drawn in ink
        assert contrast(colour, rgb["paper"]) >= 1.08


def test_of_many_classes_the_most_confused_are_shown():
    matrix = np.eye(80, dtype=np.int64)
    matrix[3, 4] = 9
    shown = plots.worst_classes(matrix)
    assert len(shown) == plots.MOST_CLASSES
    assert {3, 4} <= set(shown)


def test_templates_name_what_is_missing():
    with pytest.raises(KeyError):
        pages.fill("run.html", heading="x")
