"""Mean and deviation over seeds."""

import pytest
from seed_records import record

from vlprompt.results.comparison import compare
from vlprompt.results.sheets import formatted, rich_table
from vlprompt.results.tables import rows_of

RECORDS = [record(method=name, seed=seed, accuracy=accuracy, zero_shot=30.0)
           for name, seed, accuracy in (("coop", 1, 40.0), ("coop", 2, 44.0), ("co_op&lamm", 1, 50.0))]  # fmt: skip


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
    zero_shot, _ = rows_of([record(method="maple", zero_shot={"base": 20.0, "new": 30.0}, base=25.0, new=28.0)])
    assert {key: cell.mean for key, cell in zero_shot.values.items()} == {"base": 20.0, "new": 30.0}


def test_failed_runs_are_no_results():
    (sheet,) = compare([*RECORDS, record(method="maple") | {"error": "out of memory"}])
    assert "maple" not in {line.method for line in sheet.lines}


def test_markdown_and_latex():
    lines = formatted(compare(RECORDS), "md").splitlines()
    assert lines[0] == "| method | seeds | accuracy | training s |"
    assert lines[3] == "| coop | 2 | 42.00 ± 2.83 | 1.0 ± 0.0 |"
    assert lines[4] == "| co_op&lamm | 1 | **50.00** | 1.0 |"
    latex = formatted(compare(RECORDS), "latex")
    assert r"coop & 2 & $42.00 \pm 2.83$" in latex
    assert r"co\_op\&lamm & 1 & \textbf{50.00}" in latex


def test_for_the_terminal():
    assert rich_table(compare(RECORDS)[0]).row_count == 3
