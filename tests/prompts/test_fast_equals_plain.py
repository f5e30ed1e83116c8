"""The law of the interpreters: fast equals plain, values and gradients, for every method."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import tiny_backbone

from vlprompt import methods
from vlprompt.contract import assert_fast_equals_plain
from vlprompt.data.task import Task
from vlprompt.methods.base import Batch
from vlprompt.prompts.interpreters import packing
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.interpreters.packing import padded_sets

NAMES = [
    "cat",
    "golden retriever",
    "bird's nest",
    "707-320B",
    "annual_crop_land",
    "lion's mane jellyfish",
    "yahoo!",
    "a",
    "spaghetti carbonara with extra cheese",
    "X",
]


def learning_methods() -> list[str]:
    return [n for n in methods.names() if methods.load(n).facts.learns]


def depth_options(name: str, depth: int, context: int) -> dict[str, Any]:
    """Whatever of these the method has as options."""
    known = {f for kind in methods.load(name).kinds for f in kind.__dataclass_fields__}
    wanted = {
        "depth": depth,
        "text_depth": depth,
        "image_depth": depth,
        "context_tokens": context,
        "image_tokens": context,
    }
    if context > 4:
        wanted["context_init"] = ""
    return {k: v for k, v in wanted.items() if k in known}


@pytest.mark.parametrize("name", learning_methods())
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=6, unique=True),
    depth=st.integers(1, 4),
    context=st.integers(1, 7),
    seed=st.integers(0, 3),
)
def test_every_method(name: str, names: list[str], depth: int, context: int, seed: int) -> None:
    backbone = tiny_backbone(seed)
    method = methods.load(name).build(
        backbone, Task(tuple(names), shots=2), depth_options(name, depth, context)
    )
    assert_fast_equals_plain(method)


@pytest.mark.parametrize("name", ["coop+lamm", "maple+lamm", "lamm"])
def test_published_lamm(name: str) -> None:
    backbone = tiny_backbone(1)
    method = methods.load(name).build(backbone, Task(tuple(NAMES[:5])), {"reference": "published_code"})
    assert_fast_equals_plain(method)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("own", [False, True])
def test_name_positions(position: str, own: bool) -> None:
    backbone = tiny_backbone(2)
    options = {"context_tokens": 5, "name_position": position, "class_specific": own}
    method = methods.load("coop").build(backbone, Task(tuple(NAMES[:6])), options)
    assert_fast_equals_plain(method)


@pytest.mark.parametrize("name", ["coop", "cocoop", "ctp+tft+lamm", "proda", "maple+lamm", "vpt", "lamm"])
def test_chunks_under_a_small_budget(name: str) -> None:
    backbone = tiny_backbone(0)
    method = methods.load(name).build(backbone, Task(tuple(NAMES)))
    assert_fast_equals_plain(method, make=lambda b: Fast(b, budget=100_000))


@given(st.lists(st.integers(2, 40), min_size=1, max_size=40), st.floats(1, 3))
def test_padded_sets_hold_every_class_once(lengths: list[int], padding: float) -> None:
    sets = padded_sets(lengths, padding)
    assert sorted(c for one in sets for c in one.classes) == list(range(len(lengths)))
    for one in sets:
        own = [lengths[c] for c in one.classes]
        assert one.length == max(own)
        assert len(own) * one.length <= padding * sum(own) or len(own) == 1


@pytest.mark.parametrize("padding", [1.0, 100.0])
def test_padding_changes_nothing(monkeypatch: pytest.MonkeyPatch, padding: float) -> None:
    monkeypatch.setattr(packing, "padded_sets", partial(packing.padded_sets, most_padding=padding))
    backbone = tiny_backbone(0)
    for name in ("coop", "cocoop", "ctp+tft", "proda", "maple+lamm"):
        assert_fast_equals_plain(methods.load(name).build(backbone, Task(tuple(NAMES))))


def test_the_fused_kernel_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU computes: prefix and suffix side by side for every class."""
    import vlprompt.prompts.interpreters.fast as forward

    monkeypatch.setattr(forward, "_attend_in_parts", forward._attend_fused)
    backbone = tiny_backbone(0)
    for name in ("coop", "cocoop", "ctp+tft", "proda", "maple+lamm"):
        assert_fast_equals_plain(methods.load(name).build(backbone, Task(tuple(NAMES))))


def test_frozen_prefix_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import vlprompt.prompts.interpreters.fast as forward

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
