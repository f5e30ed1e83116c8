"""A method in evaluation computes the features of equal prompts once, and gives the logits of one that does not."""

from __future__ import annotations

import pickle

import pytest
import torch
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.methods.base import Batch, Method

NAMES = ("coop", "cocoop", "proda", "maple", "coop+lamm", "proda+lamm", "ctp+tft", "tft+lamm")


def build(backbone, name: str) -> Method:
    return (
        methods.load(name)
        .build(backbone, Task(("red cat", "green dog", "sea"), ("a photo of a {}.",), 2), {})
        .eval()
    )


def batches(backbone, method: Method) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for size in (3, 1, 4):
        pixels = torch.randn(size, 3, 32, 32, generator=generator)
        features, patches = backbone.vit.patch_features(pixels)
        found.append(
            {
                "features": Batch(features=features),
                "pixels": Batch(pixels=pixels),
                "patches": Batch(features=features, patches=patches),
            }[method.needs]
        )
    return found


@pytest.mark.parametrize("name", NAMES)
def test_equal_to_computing_them_each_time(name: str, monkeypatch) -> None:
    backbone = tiny_backbone()
    plain, known = build(backbone, name), build(backbone, name)
    known.load_state_dict(plain.state_dict())
    plain.interpreter.remember_texts(False)
    for batch in batches(backbone, plain):
        with torch.no_grad():
            assert torch.equal(known(batch).logits, plain(batch).logits)
    computed = []
    compute = known.interpreter._text
    monkeypatch.setattr(known.interpreter, "_text", lambda prompt: computed.append(prompt) or compute(prompt))
    for batch in batches(backbone, plain):
        with torch.no_grad():
            known(batch)
    assert bool(computed) == known.per_image_text


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
        method.interpreter.remember_texts(False)
        assert torch.equal(method(batch).logits, after)
    assert method(batch).logits.requires_grad  # with gradients nothing is taken from memory


def test_what_is_known_does_not_travel() -> None:
    backbone = tiny_backbone()
    method = build(backbone, "coop")
    with torch.no_grad():
        method(batches(backbone, method)[0])
    assert method.interpreter._known.known
    assert not pickle.loads(pickle.dumps(method.interpreter.__getstate__() | {"backbone": None}))[
        "_known"
    ].known
