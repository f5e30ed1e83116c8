"""The linear probe: scikit-learn's numbers through the interface of the methods."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.errors import OptionError, TrainingError
from vlprompt.methods.base import Batch
from vlprompt.methods.penalty_choice import dealt
from vlprompt.methods.softmax_regression import softmax_regression

NAMES = ("cat", "golden retriever", "bird's nest")


def build(names: tuple[str, ...] = NAMES, **options: Any) -> Any:
    return methods.load("linear_probe").build(tiny_backbone(1), Task(names), options)


def data(
    each: int, classes: int = 3, seed: int = 0, spread: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [classes * each, 96] around one centre per class."""
    centres = torch.randn(classes, 96, generator=torch.Generator().manual_seed(9))
    noise = torch.randn(classes * each, 96, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(classes).repeat_interleave(each)
    return F.normalize(centres[labels] + spread * noise, dim=-1), labels


NONE = (torch.zeros(0, 96), torch.zeros(0, dtype=torch.long))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_numbers_are_those_of_scikit_learn(classes: int) -> None:
    features, labels = data(6, classes, spread=3.0)
    held, _ = data(5, classes, seed=1, spread=3.0)
    method = build(NAMES[:classes], strength=5.0)
    method.prepare(features[None], labels, *NONE)
    expected = LogisticRegression(C=5.0, max_iter=1000, tol=1e-9).fit(
        features.double().numpy(), labels.numpy()
    )
    with torch.no_grad():
        found = method(Batch(features=held)).logits.softmax(-1)
    np.testing.assert_allclose(found.numpy(), expected.predict_proba(held.double().numpy()), atol=1e-5)


def test_the_strength_is_chosen_on_validation_pictures() -> None:
    features, labels = data(8, spread=4.0)
    validation = data(30, seed=2, spread=4.0)
    method = build()
    method.prepare(features[None], labels, *validation)
    hits = {}
    for strength in (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0):
        other = build(strength=strength)
        other.prepare(features[None], labels, *NONE)
        with torch.no_grad():
            hits[strength] = int(
                (other(Batch(features=validation[0])).logits.argmax(-1) == validation[1]).sum()
            )
    with torch.no_grad():
        own = int((method(Batch(features=validation[0])).logits.argmax(-1) == validation[1]).sum())
    assert own == max(hits.values())


def test_without_validation_pictures_by_cross_validation_or_not_at_all() -> None:
    for each in (5, 2, 1):
        features, labels = data(each)
        method = build()
        method.prepare(features[None], labels, *NONE)
        with torch.no_grad():
            assert (method(Batch(features=features)).logits.argmax(-1) == labels).all()
    parts = list(dealt(np.arange(10), np.array([0] * 5 + [1] * 5), 3))
    assert len(parts) == 3 and sorted(np.concatenate([p[2] for p in parts])) == list(range(10))
    assert all(set(p[1]) == {0, 1} == set(p[3]) for p in parts)


def test_a_class_without_pictures_is_never_said() -> None:
    features, labels = data(4)
    method = build((*NAMES, "teapot"))
    method.prepare(features[None], labels, *NONE)
    with torch.no_grad():
        assert method(Batch(features=torch.randn(20, 96))).logits.argmax(-1).max() < 3
    with pytest.raises(TrainingError, match="two classes"):
        build().prepare(features[None, :3], labels[:3], *NONE)


def test_other_names_are_refused_and_known_ones_keep_their_logits() -> None:
    features, labels = data(4)
    method = build()
    method.prepare(features[None], labels, *NONE)
    with pytest.raises(OptionError, match=r"knows only the classes it was trained on, and \"teapot\""):
        method.for_classes(["cat", "teapot"])
    with torch.no_grad():
        found = method.for_classes([NAMES[2], NAMES[0]])(Batch(features=features)).logits
        torch.testing.assert_close(found, method(Batch(features=features)).logits[:, [2, 0]])


def test_it_needs_no_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    features, labels = data(2)
    build().prepare(features[None], labels, *NONE)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(1, 4), st.sampled_from([0.01, 1.0, 100.0]), st.integers(0, 99))
def test_the_solution_is_the_minimum(classes: int, each: int, strength: float, seed: int) -> None:
    """Whatever is added to it makes the objective larger."""
    features, labels = data(each, classes, seed=seed)
    x, y = features.double().numpy(), labels.numpy()
    found = softmax_regression(x, y, strength)

    def objective(weight: np.ndarray, bias: np.ndarray) -> float:
        loss = F.cross_entropy(torch.from_numpy(x @ weight.T + bias), labels, reduction="sum")
        penalty = (2 if classes == 2 else 1) * (weight**2).sum() / 2
        return float(strength * loss + penalty)

    least = objective(*found)
    rng = np.random.default_rng(seed)
    for size in (1e-3, 1e-1, 1.0):
        moved = (
            found.weight + size * rng.normal(size=found.weight.shape),
            found.bias + size * rng.normal(size=classes),
        )
        assert objective(*moved) >= least - 1e-6 * max(1.0, abs(least))
