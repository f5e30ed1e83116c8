"""What does not learn is computed once, and gives the logits of a method that remembers nothing."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from support import tiny_backbone

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.towers.changes import MatrixChange
from vlprompt.data.task import Task
from vlprompt.feeding.inputs import live_batch
from vlprompt.methods.base import Batch, Method
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.prompts.interpreters import fixed
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.interpreters.fixed import FixedTexts, fixed_texts, taken_apart
from vlprompt.prompts.tokens import BlockTokens, FrozenText

NAMES = ("coop", "cocoop", "proda", "maple", "coop+lamm", "proda+lamm", "ctp+tft", "tft+lamm")


class Forgetful(Fast):
    """The same numbers, each time anew."""

    kept_as = None


def build(backbone: Backbone, name: str) -> Method:
    return (
        methods.load(name)
        .build(backbone, Task(("red cat", "green dog", "sea"), ("a photo of a {}.",), 2), {})
        .eval()
    )


def batches(backbone: Backbone, method: Method) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        live_batch(backbone, method.facts.needs, torch.randn(size, 3, 32, 32, generator=generator))
        for size in (3, 1, 4)
    ]


def forget(method: Method) -> None:
    for part in method.modules():
        if isinstance(part, Method):
            part.interpreter = Forgetful(part.backbone)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The prompts that are computed from now on."""
    computed: list[Any] = []
    compute = Fast.text
    monkeypatch.setattr(Fast, "text", lambda self, prompt: computed.append(prompt) or compute(self, prompt))
    return computed


@pytest.mark.parametrize("name", NAMES)
def test_equal_to_computing_them_each_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    plain, known = build(backbone, name), build(backbone, name)
    known.load_state_dict(plain.state_dict())
    forget(plain)
    for batch in batches(backbone, plain):
        with torch.no_grad():
            assert torch.equal(known(batch).logits, plain(batch).logits)
    computed = counted(monkeypatch)
    for batch in batches(backbone, plain):
        with torch.no_grad():
            known(batch)
    assert bool(computed) == known.facts.per_image_text


@pytest.mark.parametrize("name", NAMES)
def test_features_that_are_handed_in_are_not_computed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    method = build(backbone, name)
    texts = method.constant_texts()
    assert (texts is None) == method.facts.per_image_text
    batch = batches(backbone, method)[0]
    with torch.no_grad():
        expected = method(batch).logits
        computed = counted(monkeypatch)
        assert torch.equal(method(batch, texts).logits, expected)
    assert bool(computed) == (texts is None)


@pytest.mark.parametrize("name", ["coop", "maple+lamm", "proda+lamm"])
def test_what_learns_on_is_computed_anew(name: str) -> None:
    backbone = tiny_backbone()
    method = build(backbone, name)
    batch = batches(backbone, method)[0]
    with torch.no_grad():
        before = method(batch).logits
    loss = method.train().total_loss(method.loss(method(batch), torch.tensor([0, 1, 2])))
    loss.backward()
    with torch.no_grad():
        for p in method.parameters():
            if p.grad is not None:
                p -= p.grad
        after = method.eval()(batch).logits
        assert not torch.equal(after, before)
        forget(method)
        assert torch.equal(method(batch).logits, after)
    assert method(batch).logits.requires_grad  # with gradients nothing is taken from memory


def test_frozen_texts_are_shared_by_the_methods_of_a_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    task = Task(("red cat", "sea"), ("a photo of a {}.", "a drawing of a {}."))
    first = ZeroShot(backbone, task).text_features()
    computed = counted(monkeypatch)
    assert torch.equal(ZeroShot(backbone, task).text_features(), first)
    features = torch.nn.functional.normalize(torch.randn(2, backbone.embed_dim), dim=-1)
    with torch.no_grad():
        methods.load("tip_adapter").build(backbone, task)(Batch(features=features))
    assert not computed
    ZeroShot(tiny_backbone(1), task).text_features()
    assert len(computed) == 2  # another backbone, a template after the other


def test_a_prompt_that_was_written_over_is_another() -> None:
    backbone = tiny_backbone()
    (prompt,) = build(backbone, "coop").texts()
    known, asked = FixedTexts(), []
    for _ in range(2):
        known.find("fast", prompt, lambda: asked.append(1) or torch.zeros(1, 3, 4))
    assert len(asked) == 1
    with torch.no_grad():
        prompt.suffix[0, 0, 0] += 1
    known.find("fast", prompt, lambda: asked.append(1) or torch.zeros(1, 3, 4))
    known.find("plain", prompt, lambda: asked.append(1) or torch.zeros(1, 3, 4))
    assert len(asked) == 3


def test_whatever_a_prompt_consists_of_tells_it_apart() -> None:
    """Two prompts with the same numbers, of which one enters at another block, or changes a matrix of the tower."""
    backbone = tiny_backbone()
    (plain,) = build(backbone, "coop").texts()
    values, low = torch.ones(1, 64), (torch.zeros(2, 64), torch.zeros(64, 2))
    others = [
        replace(plain, inner=[BlockTokens(values, 1)]),
        replace(plain, inner=[BlockTokens(values, 2)]),
        replace(plain, deep=[values]),
        replace(plain, changes=[MatrixChange(0, "q", *low)]),
        replace(plain, changes=[MatrixChange(0, "v", *low)]),
    ]
    known, asked = FixedTexts(), []
    for prompt in [plain, *others, plain, *others]:
        known.find("fast", prompt, lambda: asked.append(1) or torch.zeros(1, 3, 4))
    assert len(asked) == 6


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed, "LARGEST", 1000)
    known = FixedTexts()
    for i in range(100):
        known.find("fast", FrozenText((str(i),), ()), lambda: torch.zeros(1, 1, 20))
    assert len(known.known) == 12 and known.known[0].layout == taken_apart(FrozenText(("99",), ()), [])
    known.find("fast", FrozenText(("large",), ()), lambda: torch.zeros(1, 1, 300))
    assert len(known.known) == 12


def test_what_is_known_does_not_travel() -> None:
    backbone = tiny_backbone()
    method = build(backbone, "lamm")
    with torch.no_grad():
        method(batches(backbone, method)[0])
    assert fixed_texts(backbone).known
    state = method.interpreter.__getstate__() | {"backbone": None}  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(state))["_kept"] == {}
