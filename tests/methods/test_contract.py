"""What every method file promises; the tests find methods by themselves."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import pytest
import torch
from support import tiny_backbone

from vlprompt import methods
from vlprompt.clip.backbone import Backbone
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch, Method
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.training.optimizers import make_optimizer

NAMES = ("cat", "golden retriever", "bird's nest", "annual crop land", "x-ray fish")
OTHERS = ("tic-tac-toe", "cat", "a very long name of seven tokens")
LABELS = torch.tensor([0, 2, 4, 1])
ALL = methods.names()
LEARNING = [n for n in ALL if methods.load(n).outermost.learns]


@lru_cache(maxsize=2)
def backbone(dtype: torch.dtype = torch.float32) -> Backbone:
    return tiny_backbone(4).to("cpu", dtype)


def build(name: str, names: tuple[str, ...] = NAMES, seed: int = 1, on: Backbone | None = None) -> Method:
    generator = torch.Generator().manual_seed(seed)
    return methods.load(name).build(on or backbone(), Task(names, shots=4), generator=generator)


def base_of(method: Method) -> Method:
    """What LAMM wraps."""
    return getattr(method, "base", method)


def batch_for(method: Method) -> Batch:
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    if method.needs == "pixels":
        return Batch(pixels=pixels)
    with torch.no_grad():
        if method.needs == "patches":
            features, patches = method.backbone.vit.patch_features(pixels)
            return Batch(features=features, patches=patches)
        return Batch(features=method.backbone.image_features(pixels))


def steps(method: Method, count: int, lr: float = 0.002) -> list[float]:
    """Trains on one batch; the losses, the first before anything was learned."""
    batch, losses = batch_for(method), []
    if batch.features is not None and (not method.trains or type(method).prepare is not Method.prepare):
        losses.append(float(method.total_loss(method.loss(method.train()(batch), LABELS)).detach()))
        features = batch.features
        method.prepare(features[None], LABELS, features[:0], LABELS[:0])
    optimizer = make_optimizer("sgd", method.parameters(), lr=lr)
    method.train()
    if not method.trains:
        losses.append(float(method.total_loss(method.loss(method(batch), LABELS)).detach()))
        count = 0
    for _ in range(count):
        total = method.total_loss(method.loss(method(batch), LABELS))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    method.eval()
    return losses


def logits(method: Method) -> torch.Tensor:
    with torch.no_grad():
        return method.eval()(batch_for(method)).logits


@pytest.mark.parametrize("name", ALL)
def test_declares_itself(name: str) -> None:
    kind = methods.load(name).outermost
    assert kind.title and kind.paper and kind.per_step
    assert kind.__module__.rpartition(".")[0] == "vlprompt.methods"
    method = build(name)
    assert (method.trainable_parameters() > 0) == kind.learns
    for options in methods.load(name).kinds:
        for field in dataclasses.fields(options):
            assert field.metadata["help"], field.name


@pytest.mark.parametrize("name", LEARNING)
def test_learns_and_leaves_the_backbone_alone(name: str) -> None:
    own = backbone()
    before = [p.clone() for tower in (own.text, own.image) for p in tower.parameters()]
    method = build(name)
    start = {n: p.detach().clone() for n, p in method.named_parameters()}
    losses = steps(method, 6)
    assert losses[-1] < losses[0]
    after = [p for tower in (own.text, own.image) for p in tower.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    changed = {n for n, p in method.named_parameters() if not torch.equal(p.detach(), start[n])}
    assert changed


@pytest.mark.parametrize("name", LEARNING)
def test_saves_only_its_own_tensors(name: str) -> None:
    method = build(name)
    steps(method, 2)
    state = method.state_dict()
    assert {n for n, _ in method.named_parameters()} <= set(state)
    assert sum(t.numel() for t in state.values()) < 600_000  # no tower among them
    again = build(name, seed=9)
    again.load_state_dict(state)
    torch.testing.assert_close(logits(again), logits(method), atol=0, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_other_classes(name: str) -> None:
    method = build(name)
    if method.learns:
        steps(method, 2)
    held = {n: t.clone() for n, t in method.state_dict().items()}
    if not method.new_names:
        with pytest.raises(OptionError, match="knows only the classes it was trained on"):
            method.for_classes(OTHERS)
        torch.testing.assert_close(logits(method.for_classes(NAMES[1:3])), logits(method)[:, 1:3])
        return
    other = method.for_classes(OTHERS)
    found = logits(other)
    assert found.shape == (4, len(OTHERS))
    assert torch.isfinite(found).all()
    assert all(torch.equal(t, held[n]) for n, t in method.state_dict().items())
    # the class that both know keeps its meaning: other classes do not change its logit
    if not base_of(method).independent_classes:
        return
    torch.testing.assert_close(found[:, 1], logits(method)[:, 0], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_order_of_classes_does_not_matter(name: str) -> None:
    method = build(name)
    if method.learns:
        steps(method, 2)
    order = [3, 0, 4, 2, 1]
    other = method.for_classes([NAMES[i] for i in order])
    torch.testing.assert_close(logits(other), logits(method)[:, order], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_two_hundred_steps_stay_finite(name: str, precision: str) -> None:
    on = backbone(torch.bfloat16 if precision == "bf16" else torch.float32)
    method = build(name, on=on)
    losses = steps(method, 200, lr=method.recipe.lr)
    assert torch.isfinite(torch.tensor(losses)).all()
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in method.parameters())


@pytest.mark.parametrize("name", LEARNING)
def test_same_seed_same_numbers(name: str) -> None:
    first, second = build(name, seed=7), build(name, seed=7)
    assert steps(first, 3) == steps(second, 3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("name", [n for n in ALL if methods.load(n).outermost.zero_shot_start])
def test_starts_from_zero_shot(name: str) -> None:
    method = build(name)
    zero_shot = ZeroShot(backbone(), Task(NAMES))
    torch.testing.assert_close(logits(method), logits(zero_shot), atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="no option"):
        methods.load(name).options({"contxt_tokens": 3})


@pytest.mark.parametrize("name", ["cop", "lamm+coop", "coop+lamm+lamm", "zeroshot+lamm", ""])
def test_unknown_names_offer_the_nearest(name: str) -> None:
    with pytest.raises(OptionError, match="known:"):
        methods.load(name)


@pytest.mark.parametrize("name", LEARNING)
def test_names_that_read_the_same_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="read the same"):
        build(name, ("golden_retriever", "Golden Retriever"))


def test_options_are_checked() -> None:
    bad: list[dict[str, Any]] = [{"context_tokens": 0}, {"context_tokens": 2.5}, {"name_position": "behind"}]
    for values in bad:
        with pytest.raises(OptionError):
            methods.load("coop").options(values)
