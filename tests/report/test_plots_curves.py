"""Figures of protocols: what is drawn, and where names stand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seed_records import base_new, record

from vlprompt.errors import DataError
from vlprompt.report.base_against_new import base_new_plane
from vlprompt.report.curves import _apart, forgetting_curves, shot_curves
from vlprompt.report.fonts import shortened, width
from vlprompt.report.plots import confusion_matrix, learning_curves, method_bars, to_png, to_svg
from vlprompt.report.run_tables import Cell

SHOTS = [
    record(method=name, data=data, shots=k, seed=seed, accuracy=50.0 + k + seed, zero_shot=40.0)
    for name in ("coop", "coop+lamm")
    for data in ("dtd", "mine")
    for k in (1, 4, 16)
    for seed in (1, 2)
]
VALUES = {"session_1": 90.0, "session_2": 80.0, "average": 85.0, "final": 80.0}
SESSIONS = [
    record("class_incremental", name, matrix=[[90.0], [lost, 75.0]], zero_shot=VALUES, **VALUES)
    for name, lost in (("maple", 60.0), ("lamm", 85.0))
]


def drawn(axes):
    """The texts of a panel, and its lines by colour and dash."""
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 2 or line.get_marker() != "None"]
    return [text.get_text() for text in axes.texts], lines


def test_accuracy_over_shots():
    average, dtd, mine, *_ = shot_curves(SHOTS).axes
    assert [axes.get_title(loc="left") for axes in (average, dtd, mine)] == ["average of 2", "dtd", "mine"]
    names, lines = drawn(average)
    assert sorted(names) == ["coop 67.5", "coop+lamm 67.5", "zero-shot 40.0"]
    assert list(lines[-1].get_xdata()) == [1, 4, 16]
    assert list(lines[-1].get_ydata()) == [52.5, 55.5, 67.5]
    assert lines[-1].get_color() == lines[-2].get_color()  # CoOp with and without LAMM
    assert lines[-1].get_linestyle() != lines[-2].get_linestyle()


def test_old_classes_over_sessions():
    first, seen = forgetting_curves(SESSIONS).axes
    assert sorted(drawn(first)[0]) == ["lamm 85.0", "maple 60.0"]
    assert sorted(drawn(seen)[0]) == ["lamm 80.0", "maple 80.0", "zero-shot 80.0"]


def test_base_against_new():
    (axes,) = base_new_plane([base_new(80.0, 60.0), base_new(75.0, 72.0, "maple")]).axes
    names = drawn(axes)[0]
    assert {"coop", "maple", "zero-shot"} <= set(names)
    assert any(name.startswith("HM ") for name in names)


def test_names_are_moved_apart_and_stay_inside():
    places = _apart([10.0, 49.0, 49.5, 50.0], 3.0, 0.0, 50.0)
    assert places[-1] <= 50.0 and places[0] == 10.0
    assert all(b - a >= 3.0 - 1e-6 for a, b in pairwise(places))
    assert _apart([1.0, 1.0, 1.0], 100.0, 0.0, 10.0) == pytest.approx([0.0, 5.0, 10.0])


def test_what_cannot_be_drawn():
    with pytest.raises(DataError, match="no results of few_shot"):
        shot_curves(SESSIONS)
    with pytest.raises(DataError, match="--backbone"):
        shot_curves([*SHOTS, record(accuracy=1.0, backbone="other")])
    with pytest.raises(DataError, match="--shots"):
        base_new_plane([base_new(1.0, 2.0), base_new(1.0, 2.0, shots=4)])


def test_files(tmp_path):
    assert to_png(base_new_plane([base_new(80.0, 60.0)]), tmp_path / "x.png").stat().st_size > 1000
    assert "<svg" in to_png(shot_curves(SHOTS[:4]), tmp_path / "x.svg").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "W" * 300,
        "漢" * 90,
        "$\\frac{$ and $",
        "a\nb" * 40,
        "\x1b[31m",
        "\ud800",
        "\u202e",
        "",
        "</text>" * 60,
        "\ufdfd" * 20,
    ],
)
def test_any_name_is_drawn_in_every_figure(name, tmp_path):
    """A warning that a figure has no room, or an error of the markup in matplotlib's texts, fails this."""
    figures = [
        confusion_matrix(np.eye(2, dtype=int), [name, name + "2"]),
        method_bars({name: Cell(50.0, 0.0, 1), "coop": Cell(60.0, 0.0, 1)}),
        learning_curves({key: [{"epoch": 1, "loss": 1.0, "accuracy": 50.0}] for key in (name, "coop")}),
        shot_curves([{**one, "data": name, "method": name} for one in SHOTS[:6]]),
        forgetting_curves([{**one, "data": name, "method": name} for one in SESSIONS[:1]]),
        base_new_plane([{**base_new(80.0, 60.0), "data": name, "method": name}]),
    ]
    for figure in figures:
        assert "<svg" in to_svg(figure, "figure", "a figure")
        to_png(figure, tmp_path / "x.png", dpi=20)


@given(st.text(max_size=80), st.sampled_from([0.5, 2.0]))
@settings(max_examples=30, deadline=None)
def test_shortened_names_are_as_wide_as_asked_for_and_keep_their_ends(name, inches):
    whole, short = shortened(name, inches=1000.0), shortened(name, inches=inches)
    assert width(short, 9.0) <= inches
    if short != whole:
        begin, end = short.split("…")[0], short.split("…")[-1]
        assert whole.startswith(begin) and whole.endswith(end)
