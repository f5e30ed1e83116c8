"""Mean and deviation over seeds."""

import pytest
from seed_records import record

from vlprompt.report.comparison import compare
from vlprompt.report.run_tables import rows_of
from vlprompt.report.sheet_formats import formatted, rich_table

RECORDS = [
    record(method=name, seed=seed, accuracy=accuracy, zero_shot=30.0)
    for name, seed, accuracy in (("coop", 1, 40.0), ("coop", 2, 44.0), ("co_op&lamm", 1, 50.0))
]


def test_mean_and_sample_deviation():
    zero_shot, coop, lamm = rows_of(RECORDS)
    assert (zero_shot.method, zero_shot.values["accuracy"].mean) == ("zero-shot", 30.0)
    assert coop.values["accuracy"].mean == 42.0
    assert coop.values["accuracy"].std == pytest.approx(8**0.5)
    assert coop.seeds == 2
    assert lamm.values["accuracy"].text() == "50.00"


def test_a_seed_that_was_done_again_counts_once():
    rows = rows_of([*RECORDS, record(seed=2, accuracy=48.0, zero_shot=30.0)])
    assert rows[1].values["accuracy"].mean == 44.0
    assert rows[1].seeds == 2


def test_zero_shot_with_several_values():
    zero_shot, _ = rows_of(
        [record(method="maple", zero_shot={"base": 20.0, "new": 30.0}, base=25.0, new=28.0)]
    )
    assert {key: cell.mean for key, cell in zero_shot.values.items()} == {"base": 20.0, "new": 30.0}


def test_failed_runs_are_no_results():
    (sheet,) = compare([*RECORDS, record(method="maple") | {"error": "out of memory"}])
    assert "maple" not in {line.method for line in sheet.lines}


def test_markdown_and_latex():
    lines = formatted(compare(RECORDS), "md").splitlines()
    assert lines[0] == "| method | seeds | accuracy | training s |"
    assert lines[3] == "| coop | 2 | 42.00 ± 2.83 | 1.0 ± 0.0 |"
    assert lines[4] == "| co_op\\&lamm | 1 | **50.00** | 1.0 |"  # which is shown as co_op&lamm
    latex = formatted(compare(RECORDS), "latex")
    assert r"coop & 2 & $42.00 \pm 2.83$" in latex
    assert r"co\_op\&lamm & 1 & \textbf{50.00}" in latex


def test_for_the_terminal():
    assert rich_table(compare(RECORDS)[0]).row_count == 3


def of(seed, method="coop", data="fruit", **settings):
    """A record with settings: epochs and lr are of the training, sessions of the protocol."""
    parts = {
        name: {k: v for k, v in settings.items() if k in keys}
        for name, keys in (("train", ("epochs", "lr")), ("setup", ("sessions", "templates")))
    }
    return record(method=method, seed=seed, data=data, accuracy=40.0 + seed, zero_shot=30.0) | {
        "settings": parts
    }


def named(records):
    (sheet,) = compare(records)
    return [(line.data, line.method, line.seeds) for line in sheet.lines], sheet.notes


def test_runs_of_several_settings_are_told_apart_by_what_differs():
    lines, _ = named([of(1, epochs=1), of(2, epochs=1), of(2, epochs=30, lr=0.5), of(1, "maple", epochs=5)])
    assert lines == [
        ("fruit", "zero-shot", 2),
        ("fruit", "coop (epochs 1)", 2),
        ("fruit", "coop (epochs 30, lr 0.5)", 1),
        ("fruit", "maple", 1),
    ]
    lines, _ = named([of(1), of(1, lr=0.5)])  # the same seed: none vanishes; defaults are not said
    assert [name for _, name, _ in lines] == ["zero-shot", "coop", "coop (lr 0.5)"]


def test_zero_shot_is_told_apart_by_what_it_depends_on():
    lines, _ = named([of(1, sessions=2, epochs=1), of(1, sessions=4, epochs=1)])
    assert [name for _, name, _ in lines] == [
        "zero-shot (sessions 2)",
        "zero-shot (sessions 4)",
        "coop (sessions 2)",
        "coop (sessions 4)",
    ]


def test_records_without_settings_are_of_the_known_ones_if_these_are_one():
    old = record(seed=3, accuracy=43.0, zero_shot=30.0)
    assert named([old, of(1, epochs=1)])[0] == [("fruit", "zero-shot", 2), ("fruit", "coop", 2)]
    names = [name for _, name, _ in named([old, of(1, epochs=1), of(2, epochs=2)])[0]]
    assert names == ["zero-shot", "coop (settings not recorded)", "coop (epochs 1)", "coop (epochs 2)"]


def test_settings_that_differ_by_data_set_are_noted_and_averaged():
    lines, notes = named([of(1, data="fruit", epochs=1, templates=["a {}"]), of(1, data="birds", epochs=2)])
    assert ("average of 2", "coop", 1) in lines
    assert [note for note in notes if "other settings" in note] == [
        "coop: runs at other shots or on other data have other settings (epochs)"
    ]
    both = [
        of(1, data=data, method=method, epochs=epochs, templates=["a {}"])
        for method in ("coop", "lamm")
        for data, epochs in (("fruit", 1), ("birds", 2))
    ]
    assert list(named(both)[1])[1:] == [
        "coop, lamm: runs at other shots or on other data have other settings (epochs)"
    ]


def test_gains_plots_and_published_figures_of_runs_that_are_told_apart():
    from vlprompt.errors import OptionError
    from vlprompt.report.curves import shot_curves
    from vlprompt.report.gains import gains

    records = [r | {"data": "caltech101"} for r in (of(1, epochs=1), of(1, epochs=2), of(1, "lamm"))]
    assert {row.method for row in gains(records, "zeroshot")} == {
        "coop (epochs 1)",
        "coop (epochs 2)",
        "lamm",
    }
    with pytest.raises(OptionError, match=r"several settings; give one of 'coop \(epochs 1\)'"):
        gains(records, "coop")
    rows = gains(records, "coop (epochs 1)", "lamm")
    assert {row.method for row in rows} == {"coop (epochs 2)", "lamm"} and any(
        row.published is not None for row in rows
    )
    texts = {text.get_text() for axes in shot_curves(records).axes for text in axes.texts}
    assert {"coop (epochs 1) 41.0", "coop (epochs 2) 41.0", "zero-shot 30.0"} <= texts
    (sheet,) = compare(records, "lamm")
    assert all(line.published for line in sheet.lines if line.method.startswith("coop"))
