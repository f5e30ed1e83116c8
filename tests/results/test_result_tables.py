"""Mean and deviation over seeds, and the forms of the table."""

import csv
import io

import pytest

from vlprompt.errors import OptionError
from vlprompt.results.tables import formatted, grid, results_table, rows_of


def record(method, seed, accuracy, **more):
    return {
        "protocol": "few_shot", "data": "fruit", "method": method, "backbone": "tiny", "shots": 4, "seed": seed,
        "accuracy": accuracy, "zero_shot": 30.0, "seconds": 1.0, "total_seconds": 2.0, "folder": None,
    } | more  # fmt: skip


RECORDS = [record("coop", 1, 40.0), record("coop", 2, 44.0), record("co_op&lamm", 1, 50.0)]


def test_mean_and_sample_deviation():
    zero_shot, coop, lamm = rows_of(RECORDS)
    assert (zero_shot.method, zero_shot.values["accuracy"].mean) == ("zero-shot", 30.0)
    assert coop.values["accuracy"].mean == 42.0
    assert coop.values["accuracy"].std == pytest.approx(8**0.5)
    assert coop.seeds == 2
    assert lamm.values["accuracy"].text() == "50.00"


def test_a_seed_that_was_done_again_counts_once():
    rows = rows_of([*RECORDS, record("coop", 2, 48.0)])
    assert rows[1].values["accuracy"].mean == 44.0
    assert rows[1].seeds == 2


def test_zero_shot_with_several_values():
    zero_shot, _ = rows_of([record("maple", 1, 1.0, zero_shot={"base": 20.0, "new": 30.0}, base=25.0, new=28.0)])
    assert {key: cell.mean for key, cell in zero_shot.values.items()} == {"base": 20.0, "new": 30.0}


def test_what_differs_becomes_a_column():
    header, body = grid(rows_of([*RECORDS, record("coop", 1, 60.0, data="flowers")]))
    assert header[:3] == ["data", "method", "seeds"]
    assert body[-1][:3] == ["flowers", "coop", "1"]


def test_markdown_csv_latex():
    lines = formatted(RECORDS, "md").splitlines()
    assert lines[0] == "| method | seeds | accuracy | training s |"
    assert lines[3] == "| coop | 2 | 42.00 ± 2.83 | 1.0 ± 0.0 |"
    rows = list(csv.DictReader(io.StringIO(formatted(RECORDS, "csv"))))
    assert rows[1]["accuracy_mean"] == "42"
    assert rows[2]["accuracy_std"] == ""
    latex = formatted(RECORDS, "latex")
    assert r"coop & 2 & $42.00 \pm 2.83$" in latex
    assert r"co\_op\&lamm & 1 & 50.00" in latex
    with pytest.raises(OptionError, match='did you mean "latex"'):
        formatted(RECORDS, "latexx")


def test_for_the_terminal():
    assert results_table(RECORDS).row_count == 3
