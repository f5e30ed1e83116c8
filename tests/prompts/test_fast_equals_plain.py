"""The law of the interpreters: fast equals plain, values and gradients, for every method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import tiny_backbone

from vlprompt import methods
from vlprompt.clip.plain import Plain
from vlprompt.data.task import Task
from vlprompt.methods.base import Batch, Method
from vlprompt.prompts.forward import Fast, buckets

NAMES = [
    "cat", "golden retriever", "bird's nest", "707-320B", "annual_crop_land", "lion's mane jellyfish",
    "yahoo!", "a", "spaghetti carbonara with extra cheese", "X",
]  # fmt: skip
TOLERANCE = 1e-4


def inputs_of(method: Method, backbone: Any, batch: int) -> Batch:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randn(batch, 3, 32, 32, generator=generator)
    if method.needs == "patches":
        with torch.no_grad():
            features, patches = backbone.image.patch_features(pixels)
        return Batch(features=features, patches=patches)
    if method.needs == "features":
        return Batch(features=backbone.image_features(pixels))
    return Batch(pixels=pixels)


def step(method: Method, batch: Batch, labels: torch.Tensor, make: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and gradients of one step under an interpreter."""
    for part in method.modules():
        if isinstance(part, Method):
            part.interpreter = make(part.backbone)
    method.train().zero_grad()
    output = method(batch)
    terms = method.loss(output, labels)
    total = method.total_loss(terms)
    total.backward()
    values = {"logits": output.logits, "text": output.text, "image": output.image, "loss": total, **terms}
    gradients = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    return {k: v.detach().clone() for k, v in values.items()}, {k: g.clone() for k, g in gradients.items()}


def assert_equal(method: Method, backbone: Any, batch_size: int = 3, make: Any = Fast) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # away from the start, where some terms and gradients are zero
        for p in method.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    classes = len(method.task.class_names)
    labels = torch.arange(batch_size) % classes
    batch = inputs_of(method, backbone, batch_size)
    state = {n: t.clone() for n, t in method.state_dict().items()}
    plain_values, plain_gradients = step(method, batch, labels, Plain)
    method.load_state_dict(state)  # both begin at the same step, if the method counts them
    fast_values, fast_gradients = step(method, batch, labels, make)
    for name, value in plain_values.items():
        torch.testing.assert_close(fast_values[name], value, atol=TOLERANCE, rtol=TOLERANCE, msg=name)
    assert fast_gradients.keys() == plain_gradients.keys()
    for name, gradient in plain_gradients.items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(
            fast_gradients[name] / scale, gradient / scale, atol=TOLERANCE, rtol=TOLERANCE, msg=name
        )


def learning_methods() -> list[str]:
    return [n for n in methods.names() if methods.load(n).outermost.learns]


def depth_options(name: str, depth: int, context: int) -> dict[str, Any]:
    """Whatever of these the method has as options."""
    known = {f for kind in methods.load(name).kinds for f in kind.__dataclass_fields__}
    wanted = {"depth": depth, "text_depth": depth, "image_depth": depth, "context_tokens": context,
              "image_tokens": context}  # fmt: skip
    if context > 4:
        wanted["context_init"] = ""
    return {k: v for k, v in wanted.items() if k in known}


@pytest.mark.parametrize("name", learning_methods())
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=6, unique=True),
    depth=st.integers(1, 4), context=st.integers(1, 7), seed=st.integers(0, 3),
)  # fmt: skip
def test_every_method(name: str, names: list[str], depth: int, context: int, seed: int) -> None:
    backbone = tiny_backbone(seed)
    method = methods.load(name).build(backbone, Task(tuple(names), shots=2), depth_options(name, depth, context))
    assert_equal(method, backbone)


@pytest.mark.parametrize("name", ["coop+lamm", "maple+lamm", "lamm"])
def test_published_lamm(name: str) -> None:
    backbone = tiny_backbone(1)
    method = methods.load(name).build(backbone, Task(tuple(NAMES[:5])), {"reference": "published_code"})
    assert_equal(method, backbone)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("own", [False, True])
def test_name_positions(position: str, own: bool) -> None:
    backbone = tiny_backbone(2)
    options = {"context_tokens": 5, "name_position": position, "class_specific": own}
    method = methods.load("coop").build(backbone, Task(tuple(NAMES[:6])), options)
    assert_equal(method, backbone)


@pytest.mark.parametrize("name", ["coop", "cocoop", "ctp+tft+lamm", "proda", "maple+lamm", "vpt", "lamm"])
def test_chunks_under_a_small_budget(name: str) -> None:
    backbone = tiny_backbone(0)
    method = methods.load(name).build(backbone, Task(tuple(NAMES)))
    assert_equal(method, backbone, make=lambda b: Fast(b, budget=100_000))


@given(st.lists(st.integers(2, 12), min_size=1, max_size=40), st.integers(1, 6))
def test_buckets_hold_every_class_once(lengths: list[int], limit: int) -> None:
    plan = buckets(lengths, limit)
    assert sorted(c for b in plan for c in b.classes) == list(range(len(lengths)))
    assert len(plan) <= limit
    assert all(lengths[c] <= b.length for b in plan for c in b.classes)


def test_few_buckets_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where classes of different lengths are padded to a common one."""
    import vlprompt.prompts.forward as forward

    monkeypatch.setattr(forward, "bucket_limit", lambda device: 2)
    backbone = tiny_backbone(0)
    for name in ("coop", "cocoop", "ctp+tft", "proda", "maple+lamm"):
        assert_equal(methods.load(name).build(backbone, Task(tuple(NAMES))), backbone)


def test_frozen_prefix_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import vlprompt.prompts.forward as forward

    calls = []
    real = forward.prefix_states
    monkeypatch.setattr(forward, "prefix_states", lambda *a: (calls.append(1), real(*a))[1])
    backbone = tiny_backbone(0)
    method = methods.load("lamm").build(backbone, Task(tuple(NAMES[:4])))
    batch = Batch(features=backbone.image_features(torch.randn(2, 3, 32, 32)))
    method.eval()
    for _ in range(3):
        method(batch)
    assert len(calls) == 1
