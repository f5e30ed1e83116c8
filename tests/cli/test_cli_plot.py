"""vlprompt plot, and vlprompt table beside published figures."""

import csv
import json

import pytest
from seed_records import base_new, record


@pytest.fixture
def results(tmp_path):
    file = tmp_path / "results.jsonl"
    rows = [
        base_new(80.0, 60.0, data="caltech101"),
        base_new(75.0, 70.0, "maple", data="caltech101"),
        record(accuracy=50.0, macro_f1=40.0, zero_shot=30.0),
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_plot(vlprompt, results, tmp_path):
    said = vlprompt(
        "plot", results, "--kind", "base-new", "--method", "maple", "--out", tmp_path / "a" / "plane.svg"
    )
    assert said.code == 0, said.err
    assert "maple" in (tmp_path / "a" / "plane.svg").read_text()
    assert vlprompt("plot", results, "-o", tmp_path / "shots.png").code == 0
    assert (tmp_path / "shots.png").stat().st_size > 1000


def test_averages_alone(vlprompt, tmp_path):
    file = tmp_path / "results.jsonl"
    rows = [base_new(80.0, 60.0, data=data) for data in ("caltech101", "eurosat")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    titles = {}
    for more in ([], ["--averages"]):
        said = vlprompt("plot", file, "--kind", "base_new", "--out", tmp_path / "plane.svg", *more)
        assert said.code == 0, said.err
        text = (tmp_path / "plane.svg").read_text()
        titles[bool(more)] = {name for name in ("average of 2", "caltech101", "eurosat") if name in text}
    assert titles == {False: {"average of 2", "caltech101", "eurosat"}, True: {"average of 2"}}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--kind", "shot"], 'did you mean "shots"'),
        (["--out", "x.gif"], ".png, .svg, .pdf"),
        (["--kind", "forgetting"], "no results of protocol"),
        (["--kind", "base_new", "--method", "mapel"], 'did you mean "maple"'),
        (["--shots", "3"], "--shots"),
        (["--averages"], "--averages: no method was run on more than one data set"),
    ],
)
def test_plot_says_what_is_wrong(vlprompt, results, words, text):
    said = vlprompt("plot", results, *words)
    assert said.code == 2
    assert text in said.err


def test_table_beside_a_paper(vlprompt, results):
    said = vlprompt("table", results, "--protocol", "base_to_new", "--paper", "maple")
    assert said.code == 0, said.err
    assert "94.36 (-24.36)" in said.out
    assert "not comparable" in said.out
    assert "not comparable" in vlprompt("table", results, "--paper", "maple", "--format", "csv").err
    assert vlprompt("table", results, "--paper", "mapel").code == 2


def test_gains_over_a_method(vlprompt, results):
    said = vlprompt("table", results, "--protocol", "base_to_new", "--over", "coop", "--format", "md")
    assert said.code == 0, said.err
    assert "| maple | new | +10.00 | +11.92 (maple) | yes |" in said.out
    assert "same direction" in vlprompt("table", results, "--over", "zeroshot").out
    assert vlprompt("table", results, "--over", "cop").code == 2
    rows = list(
        csv.DictReader(vlprompt("table", results, "--over", "coop", "--format", "csv").out.splitlines())
    )
    (row,) = [row for row in rows if row["method"] == "maple" and row["value"] == "new"]
    assert (float(row["mean"]), row["paper"], row["same_direction"]) == (10.0, "maple", "yes")
    assert float(row["published"]) == pytest.approx(75.14 - 63.22)
    written = vlprompt("table", results, "--over", "coop", "--format", "latex").out
    assert r"\begin{tabular}" in written and r"maple & new & +10.00 & +11.92 (maple) & yes \\" in written


def test_a_table_of_some_methods_alone(vlprompt, results):
    said = vlprompt("table", results, "--method", "coop", "--data", "caltech101", "--format", "md")
    assert said.code == 0, said.err
    assert (
        "coop" in said.out and "80.00" in said.out and "maple" not in said.out and "few_shot" not in said.out
    )
    for words, text in (
        (["--method", "mapel"], 'did you mean "maple"'),
        (["--shots", "3"], "--shots"),
        (["--data", "x"], "--data"),
    ):
        said = vlprompt("table", results, *words)
        assert said.code == 2 and text in said.err
