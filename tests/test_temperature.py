"""One temperature for logits: laws that hold for any of them."""

import numpy as np
import pytest
from drawn_logits import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from vlprompt.temperature import HIGHEST, LOWEST, fit_temperature, log_probabilities, nll


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 7), st.floats(0.01, 100))
def test_a_temperature_never_raises_the_loss_it_was_fitted_on_and_changes_no_answer(
    seed, count, classes, scale
):
    rng = np.random.default_rng(seed)
    logits, labels = (
        (rng.normal(size=(count, classes)) * scale).astype(np.float32),
        rng.integers(0, classes, count),
    )
    t = fit_temperature(logits, labels)
    assert LOWEST <= t <= HIGHEST
    assert nll(logits, labels, t) <= nll(logits, labels) + 1e-12
    assert (log_probabilities(logits, t).argmax(1) == logits.argmax(1)).all()


@pytest.mark.parametrize("sharper", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_by_which_the_logits_were_made_too_sharp(sharper):
    logits, labels = drawn(1, count=4000, sharper=sharper)
    assert fit_temperature(logits, labels) == pytest.approx(sharper, rel=0.08)


def test_no_other_temperature_is_better():
    logits, labels = drawn(2, sharper=2.0)
    best = nll(logits, labels, fit_temperature(logits, labels))
    assert all(best <= nll(logits, labels, t) + 1e-9 for t in np.geomspace(LOWEST, HIGHEST, 50))
