"""Intervals of accuracies hold the truth as often as they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlprompt.report.run_tables import scores_table
from vlprompt.runs.info import ScoreInfo
from vlprompt.scoring.uncertainty import accuracy_text, interval_text, wilson


@settings(deadline=None)
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_what_was_measured_and_stays_within_bounds(pair):
    low, high = wilson(*pair)
    assert 0 <= low <= 100 * pair[0] / pair[1] + 1e-9 and 100 * pair[0] / pair[1] - 1e-9 <= high <= 100


@pytest.mark.parametrize("count", [6, 12, 60, 300])
def test_it_holds_the_truth_in_95_of_100_cases(count):
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.3, 0.98, 20_000)
    hits = rng.binomial(count, truth)
    bounds = np.array([wilson(k, count) for k in range(count + 1)])[hits] / 100
    assert 0.93 < ((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean() < 0.98


def test_texts():
    assert accuracy_text(9, 12) == "75.00 % (95 % sure: 47 to 91)"
    assert accuracy_text(4000, 5000) == "80.00 %" and interval_text(4000, 5000) == ""
    assert accuracy_text(0, 0) == "0.00 % (95 % sure: 0 to 100)"


def test_a_table_gives_the_interval_of_every_row_or_of_none():
    def column(count):
        rows = [ScoreInfo(100 * hits / count, 50.0, hits, count) for hits in (count // 2, count * 97 // 100)]
        return scores_table("t", "coop", rows[1], rows[0]).columns[2]

    assert column(200).header == "95 % sure" and list(column(200).cells)[:2] == ["43 to 57", "94 to 99"]
    assert column(9000).header == "macro F1"
