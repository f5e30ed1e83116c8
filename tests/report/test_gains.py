"""Gains of one method over another, beside the published ones."""

import pytest
from seed_records import base_new, record

from vlprompt.report.gains import caption, gains, gains_text, notes


def gained(records, over, paper=None):
    return {(row.method, row.metric, row.shots): row for row in gains(records, over, paper)}


TWO = [
    base_new(80.0 + seed, 70.0 + 2 * seed, name, seed, data=data)
    for name, seed in (("cocoop", 1), ("cocoop", 2), ("cocoop", 3))
    for data in ("dtd", "mine")
]
CTP = [
    base_new(82.0 + seed, 75.0 + 2 * seed, "ctp+tft", seed, data=data)
    for seed in (1, 2)
    for data in ("dtd", "mine")
]


def test_differences_are_taken_seed_by_seed():
    row = gained([*TWO, *CTP], "cocoop")["ctp+tft", "new", 16]
    assert (row.ours.mean, row.ours.std, row.ours.n) == (5.0, 0.0, 2)
    assert row.data == "average of 2"
    assert row.published == 4.03 and row.agrees == "yes"


def test_harmonic_mean_of_a_gain_is_the_difference_of_harmonic_means():
    row = gained([*TWO, *CTP], "cocoop")["ctp+tft", "harmonic_mean", 16]
    expected = [
        2 * (82 + s) * (75 + 2 * s) / (157 + 3 * s) - 2 * (80 + s) * (70 + 2 * s) / (150 + 3 * s)
        for s in (1, 2)
    ]
    assert row.ours.mean == pytest.approx(sum(expected) / 2)
    assert row.published == 3.19


def test_base_of_ctp_tft_is_not_published():
    assert gained([*TWO, *CTP], "cocoop")["ctp+tft", "base", 16].published is None


def test_gains_from_a_papers_averages():
    rows = [*TWO, *(base_new(70.0 + s, 60.0 + 9 * s, "maple", s, data="dtd") for s in (1, 2, 3))]
    row = gained(rows, "cocoop", "maple")["maple", "new", 16]
    assert row.published == pytest.approx(75.14 - 71.69)
    assert row.data == "dtd"  # what both have
    assert gained(rows, "zeroshot")["maple", "base", 16].published == pytest.approx(82.28 - 69.34)


def test_direction():
    shots = [
        record(method=name, seed=seed, accuracy=value, zero_shot=1.0)
        for name, values in (("coop", (50, 50)), ("coop+lamm", (49, 48)), ("maple", (40, 60)))
        for seed, value in enumerate(values)
    ]
    rows = gained(shots, "coop", "lamm")
    assert rows["coop+lamm", "accuracy", 16].agrees == "no"
    assert rows["maple", "accuracy", 16].agrees == "unclear"
    assert "| coop+lamm | accuracy | -1.50 ± 0.71 | ≈ +3.12 (lamm) | no |" in gains_text(rows.values())
    assert caption(rows.values()) == "gains over coop, points, few_shot, fruit, backbone tiny, 16 shots"


def test_notes():
    assert any("our reading" in note for note in notes(gains([*TWO, *CTP], "cocoop")))
    assert notes([]) == []
