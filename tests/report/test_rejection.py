"""Thresholds that reach a stated coverage, and accuracy over coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import run_info

from vlprompt.errors import OptionError, RunError
from vlprompt.scoring.rejection import (
    coverage_curve,
    rejection_record,
    threshold_at,
    threshold_of,
    thresholds,
)

SURE = st.lists(st.floats(0.01, 1), min_size=1, max_size=50).map(np.array)


@given(SURE, st.floats(0.001, 1))
def test_a_threshold_reaches_the_coverage_that_was_asked_for(confidence, coverage):
    least = threshold_at(confidence, coverage)
    assert (confidence >= least).mean() >= coverage - 1e-9


def test_and_it_keeps_no_more_than_it_has_to():
    confidence = np.arange(1, 101) / 100
    for coverage in (0.05, 0.5, 0.95, 1.0):
        assert (confidence >= threshold_at(confidence, coverage)).sum() == round(100 * coverage)


@given(SURE)
def test_more_coverage_needs_a_lower_threshold(confidence):
    values = thresholds(confidence)
    assert len(values) == 100 and values == sorted(values, reverse=True)


@given(SURE, st.integers(0, 1000))
def test_the_curve_ends_with_all_pictures_and_never_goes_back(confidence, seed):
    correct = np.random.default_rng(seed).random(len(confidence)) < 0.5
    coverage, accuracy = coverage_curve(confidence, correct)
    assert (np.diff(coverage) >= 0).all() and coverage[-1] == pytest.approx(1)
    assert accuracy[-1] == pytest.approx(correct.mean())
    assert ((accuracy >= 0) & (accuracy <= 1)).all()


def test_the_curve_of_pictures_that_are_right_when_sure_falls():
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    coverage, accuracy = coverage_curve(confidence, np.array([True, True, False, False]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert accuracy == pytest.approx([1, 1, 2 / 3, 1 / 2])


def test_equally_sure_pictures_are_kept_or_left_together():
    coverage, accuracy = coverage_curve(np.array([0.5, 0.5, 0.5]), np.array([True, False, False]))
    assert coverage.tolist() == [1.0, 1.0, 1.0] and accuracy == pytest.approx([1 / 3] * 3)


def test_thresholds_of_a_run():
    plain, calibrated = np.linspace(0.3, 0.9, 20), np.linspace(0.2, 0.6, 20)
    info = run_info(calibration={"temperature": 2.0})
    info.rejection = rejection_record(plain, calibrated)
    assert (plain >= threshold_of(info)).mean() >= 0.95
    assert threshold_of(info, 0.5) > threshold_of(info, 0.945) == threshold_of(info, 0.95)
    info.calibration.applied = True
    assert (calibrated >= threshold_of(info, 0.5)).mean() == 0.5
    for wrong in (0.0, 1.5, -1):
        with pytest.raises(OptionError, match="coverage"):
            threshold_of(info, wrong)
    with pytest.raises(RunError, match="validation"):
        threshold_of(run_info())
