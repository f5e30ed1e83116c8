"""The bilinear probe: its optimum by other means, zero-shot before learning, and what it says of names it never saw."""

from __future__ import annotations

from dataclasses import replace
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
from vlprompt.methods.softmax_regression import bilinear_regression

NAMES = ("cat", "golden retriever", "tea pot", "red car")
NONE = (torch.zeros(0, 96), torch.zeros(0, dtype=torch.long))


def build(names: tuple[str, ...] = NAMES, **options: Any) -> Any:
    return methods.load("bilinear_probe").build(tiny_backbone(1), Task(names), options)


def data(
    each: int, classes: int = 4, seed: int = 0, spread: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [classes * each, 96] around one centre per class."""
    centres = torch.randn(classes, 96, generator=torch.Generator().manual_seed(9))
    noise = torch.randn(classes * each, 96, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(classes).repeat_interleave(each)
    return F.normalize(centres[labels] + spread * noise, dim=-1), labels


def logits(method: Any, features: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return method.eval()(Batch(features=features)).logits


def taught(each: int = 5, spread: float = 2.0, **options: Any) -> Any:
    method = build(**{"strength": 30.0} | options)
    features, labels = data(each, spread=spread)
    method.prepare(features[None], labels, *NONE)
    return method


def test_the_formula() -> None:
    method, (features, _) = taught(), data(3, seed=1)
    text = method.frozen_text()
    weights = text @ method.map + method.own
    expected = method.backbone.logit_scale * features @ text.t() / method.temperature + features @ weights.t()
    torch.testing.assert_close(logits(method, features), expected.detach())
    assert method.own.abs().max() > 0 and method.map.abs().max() > 0


@pytest.mark.parametrize("own", [0.0, 0.3])
def test_nothing_near_it_is_better(own: float) -> None:
    """The objective, written down in all of its dimensions, has no slope where the method stands."""
    method, (features, labels) = taught(own=own), data(5, spread=2.0)
    text, x = method.frozen_text().double(), features.double()
    m = method.map.detach().double().requires_grad_(True)
    v = method.own.detach().double().requires_grad_(bool(own))
    given_ = method.backbone.logit_scale * x @ text.t() / method.temperature.detach().double()
    loss = 30.0 * F.cross_entropy(given_ + x @ (text @ m + v).t(), labels, reduction="sum") + (m**2).sum() / 2
    loss = loss + (v**2).sum() / (2 * own) if own else loss
    slopes = torch.autograd.grad(loss, [m, v] if own else [m])
    assert max(float(slope.norm()) for slope in slopes) < 1e-3
    assert own or not method.own.any()


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 5), st.integers(2, 40), st.floats(0.1, 50.0))
def test_with_a_vector_for_each_class_and_nothing_given_it_is_logistic_regression(
    classes: int, each: int, strength: float
) -> None:
    rng = np.random.default_rng(classes * 100 + each)
    x, y = rng.normal(size=(classes * each, 12)), np.arange(classes).repeat(each)
    found = bilinear_regression(x, y, np.eye(classes), np.zeros((len(y), classes)), strength)
    other = LogisticRegression(C=strength, fit_intercept=False, tol=1e-8, max_iter=3000).fit(x, y)
    expected = other.decision_function(x)
    np.testing.assert_allclose(x @ found.T, expected, atol=2e-3 * max(1.0, np.abs(expected).max()))


def test_before_learning_it_is_zero_shot_and_with_no_freedom_too() -> None:
    features, labels = data(4, spread=2.0)
    zero_shot = logits(methods.load("zeroshot").build(tiny_backbone(1), Task(NAMES), {}), features)
    torch.testing.assert_close(logits(build(), features), zero_shot)
    method = build(strength=1e-9)
    method.prepare(features[None], labels, *NONE)
    torch.testing.assert_close(
        logits(method, features) * method.temperature.detach(), zero_shot, atol=1e-4, rtol=1e-4
    )


def test_names_that_it_never_saw_get_what_names_share_and_learned_ones_keep_their_own() -> None:
    method, (features, _) = taught(), data(3, seed=1)
    mixed = method.for_classes(("zebra", "tea pot", "cat"))
    learned, both = logits(method, features), logits(mixed, features)
    torch.testing.assert_close(both[:, [1, 2]], learned[:, [2, 0]])
    text = mixed.frozen_text()[0]
    expected = method.backbone.logit_scale * features @ text / method.temperature + features @ (
        text @ method.map
    )
    torch.testing.assert_close(both[:, 0], expected.detach())
    again = mixed.for_classes(("cat", "zebra"))
    torch.testing.assert_close(logits(again, features), both[:, [2, 0]])


def test_what_names_share_helps_a_class_that_was_left_out() -> None:
    """Pictures lie where turned names point: nine classes show the turn, three more are known by their names alone."""
    backbone = tiny_backbone(1)
    turn = torch.linalg.qr(torch.randn(96, 96, generator=torch.Generator().manual_seed(3)))[0]
    names = tuple(f"{a} {b}" for a in ("red", "blue", "old", "wet") for b in ("cat", "car", "cup"))
    spread = methods.load("zeroshot").build(backbone, Task(names), {}).frozen_text()
    pictures = F.normalize((spread - spread.mean(0)) @ turn, dim=-1)
    seen = replace(Task(names), class_names=names[:9])
    method = methods.load("bilinear_probe").build(backbone, seen, {"strength": 1000.0})
    method.prepare(pictures[None, :9], torch.arange(9), *NONE)
    right = logits(method.for_classes(names[9:]), pictures[9:]).argmax(1) == torch.arange(3)
    before = logits(methods.load("zeroshot").build(backbone, Task(names[9:]), {}), pictures[9:])
    chance = F.cross_entropy(before, torch.arange(3))
    after = F.cross_entropy(logits(method.for_classes(names[9:]), pictures[9:]), torch.arange(3))
    assert right.sum() >= 2 and after < chance


def test_the_strength_is_chosen_on_validation_pictures_or_in_parts() -> None:
    features, labels = data(8, spread=4.0)
    validation = data(30, seed=2, spread=4.0)
    chosen = build()
    chosen.prepare(features[None], labels, *validation)
    accuracy = {}
    for strength in (1.0, 10.0, 100.0, 1000.0, 10000.0):
        fixed = build(strength=strength)
        fixed.prepare(features[None], labels, *NONE)
        accuracy[strength] = (logits(fixed, validation[0]).argmax(1) == validation[1]).float().mean()
    own = (logits(chosen, validation[0]).argmax(1) == validation[1]).float().mean()
    assert own == max(accuracy.values())
    for each in (1, 3):
        method = taught(each, strength=0.0)
        features, labels = data(each, spread=2.0)
        assert (logits(method, features).argmax(1) == labels).all()


def test_a_later_session_begins_at_what_was_learned() -> None:
    method, (features, labels) = taught(), data(5, spread=2.0)
    before = logits(method, features)
    later = method.extend(["zebra"])
    torch.testing.assert_close(logits(later, features)[:, :4], before)
    new = F.normalize(torch.randn(5, 96, generator=torch.Generator().manual_seed(5)) * 0.1 + 1.0, dim=-1)
    later.prepare(new[None], torch.full((5,), 4), *NONE)
    assert later.temperature == method.temperature
    assert (logits(later, new).argmax(1) == 4).all()
    assert (logits(later, features)[:, :4].argmax(1) == labels).float().mean() > 0.9


def test_pictures_of_one_class_are_enough_and_none_are_not() -> None:
    features, labels = data(3)
    method = build(strength=10.0)
    method.prepare(features[None, :3], labels[:3], *NONE)
    assert (logits(method, features[:3]).argmax(1) == 0).all()
    with pytest.raises(TrainingError, match="at least one"):
        build().prepare(features[None, :0], labels[:0], *NONE)
    with pytest.raises(OptionError, match="strength"):
        build(strength=-1.0)
