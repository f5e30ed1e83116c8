"""Calibration error: laws that hold for any logits."""

import numpy as np
import pytest
from drawn_logits import drawn

from vlprompt.scoring.calibration import calibration_line, calibration_record, confidences, ece, reliability
from vlprompt.temperature import fit_temperature


def test_the_error_of_calibrated_answers_is_small_and_of_overconfident_ones_is_not():
    logits, labels = drawn(3, count=5000)
    correct = logits.argmax(1) == labels
    assert ece(confidences(logits), correct) < 2.5
    assert ece(confidences(4 * logits), correct) > 8
    assert ece(confidences(4 * logits, 4.0), correct) == pytest.approx(
        ece(confidences(logits), correct), abs=1e-4
    )


def test_always_sure_and_half_right_is_half_wrong():
    assert ece(np.ones(10), np.arange(10) % 2 == 0) == pytest.approx(50.0)
    assert ece(np.full(10, 0.5), np.arange(10) % 2 == 0) == pytest.approx(0.0)


def test_every_picture_is_in_one_bin():
    confidence = np.array([0.0, 0.1, 0.1000001, 0.55, 1.0])
    bins = reliability(confidence, np.array([True, False, True, True, True]))
    assert [(b.low, b.count) for b in bins] == [(0.0, 2), (0.1, 1), (0.5, 1), (0.9, 1)]


def test_without_validation_pictures_there_is_no_record():
    empty = np.zeros((0, 3), np.float32), np.zeros(0, int)
    assert calibration_record(None, {}) is None and calibration_record(empty, {}) is None
    assert fit_temperature(*empty) == 1.0


def test_the_record_holds_the_figures_before_and_after():
    val, test = drawn(4, sharper=3.0), drawn(5, sharper=3.0)
    found = calibration_record(val, {"val": val, "test": test})
    assert found.nll[1] < found.nll[0] and found.ece["test"][1] < found.ece["test"][0]
    assert found.fitted_on == "val" and found.applied is False and found.count == 400
    assert "from 400 validation pictures" in calibration_line(found) and "rough" not in calibration_line(
        found
    )
