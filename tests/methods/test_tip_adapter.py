"""Tip-Adapter and its learned form: the formula by hand, the choice of alpha and beta, classes that come and go."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.errors import TrainingError
from vlprompt.methods.base import Batch
from vlprompt.methods.zeroshot import ZeroShot

NAMES = ("cat", "golden retriever", "bird's nest")
BOTH = ("tip_adapter", "tip_adapter_f")
NONE = (torch.zeros(0, 96), torch.zeros(0, dtype=torch.long))


def build(name: str = "tip_adapter", names: tuple[str, ...] = NAMES, **options: Any) -> Any:
    return methods.load(name).build(tiny_backbone(1), Task(names), options)


def data(each: int, seed: int = 0, views: int = 1, spread: float = 0.7) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [views, 3 each, 96] around one centre per class."""
    centres = torch.randn(3, 96, generator=torch.Generator().manual_seed(9))
    noise = torch.randn(views, 3 * each, 96, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(3).repeat_interleave(each)
    return F.normalize(centres[labels] + spread * noise, dim=-1), labels


@torch.no_grad()
def logits(method: Any, features: torch.Tensor) -> torch.Tensor:
    return method.eval()(Batch(features=features)).logits


@pytest.mark.parametrize("name", BOTH)
def test_formula(name: str) -> None:
    method = build(name, alpha=1.7, beta=4.0)
    features, labels = data(2, views=3)
    method.prepare(features, labels, *NONE)
    queries = data(1, seed=5)[0][0]
    text = ZeroShot(method.backbone, Task(NAMES)).text_features()
    keys = features.mean(0)
    keys = keys / keys.norm(dim=-1, keepdim=True)
    found = logits(method, queries)
    for b in range(3):
        for c in range(3):
            vote = sum(
                float(torch.exp(-4.0 * (1 - queries[b] @ k)))
                for k, y in zip(keys, labels, strict=True)
                if y == c
            )
            expected = method.backbone.logit_scale * float(queries[b] @ text[c]) + 1.7 * vote
            assert float(found[b, c]) == pytest.approx(expected, abs=1e-3)


def test_alpha_and_beta_are_the_best_of_the_grid_on_validation_pictures() -> None:
    features, labels = data(3)
    validation, truth = data(20, seed=3, spread=2.0)
    method = build()
    method.prepare(features, labels, validation[0], truth)
    own = int((logits(method, validation[0]).argmax(-1) == truth).sum())
    for alpha in (0.15, 1.5, 3.0):
        for beta in (0.35, 3.5, 7.0):
            other = build(alpha=alpha, beta=beta)
            other.prepare(features, labels, *NONE)
            assert own >= int((logits(other, validation[0]).argmax(-1) == truth).sum())
    fixed = build(alpha=1.25)
    fixed.prepare(features, labels, validation[0], truth)
    assert fixed.alpha.item() == 1.25


def test_without_validation_pictures_each_training_picture_is_judged_by_the_others() -> None:
    features, labels = data(4)
    method = build()
    method.prepare(features, labels, *NONE)
    zero_shot = logits(ZeroShot(method.backbone, Task(NAMES)), features[0])
    before = int((zero_shot.argmax(-1) == labels).sum())
    assert int((logits(method, data(10, seed=4)[0][0]).argmax(-1) == data(10)[1]).sum()) > before * 2.5
    alone = (
        build()
    )  # one picture of a class: the others are all of other classes, so the vote is as weak as can be
    alone.prepare(features[:, ::4], labels[::4], *NONE)
    assert alone.alpha.item() == pytest.approx(0.15)


@pytest.mark.parametrize("name", BOTH)
def test_classes_come_and_go(name: str) -> None:
    method = build(name, alpha=1.0, beta=3.0)
    features, labels = data(2)
    method.prepare(features, labels, *NONE)
    found = logits(method, features[0])
    other = method.for_classes(["teapot", "cat", "bird's nest"])
    again = logits(other, features[0])
    torch.testing.assert_close(again[:, 1:], found[:, [0, 2]])
    new = logits(ZeroShot(method.backbone, Task(("teapot",))), features[0])
    torch.testing.assert_close(again[:, :1], new)
    torch.testing.assert_close(logits(other.for_classes(["cat"]), features[0]), found[:, :1])
    later = method.extend(["teapot"])  # its pictures join those of the earlier classes
    later.prepare(F.normalize(torch.randn(1, 2, 96), dim=-1), torch.tensor([3, 3]), *NONE)
    torch.testing.assert_close(logits(later, features[0])[:, :3], found)
    assert len(later.keys) == 8 and len(method.keys) == 6


@pytest.mark.parametrize("name", BOTH)
def test_saved_and_loaded(name: str) -> None:
    method = build(name)
    features, labels = data(2)
    method.prepare(features, labels, *NONE)
    again = build(name)
    again.load_state_dict(method.state_dict())
    assert torch.equal(logits(again, features[0]), logits(method, features[0]))
    with pytest.raises(TrainingError, match="at least one"):
        build(name).prepare(features[:, :0], labels[:0], *NONE)


def test_keys_are_learned_and_alpha_and_beta_stay() -> None:
    method = build("tip_adapter_f").train()
    features, labels = data(3)
    method.prepare(features, labels, *NONE)
    assert [n for n, p in method.named_parameters() if p.requires_grad] == ["keys"]
    method.total_loss(method.loss(method(Batch(features=features[0])), labels)).backward()
    assert all(method.keys.grad[i].norm() > 0 for i in range(9))
    assert build().trainable_parameters() == 2
