"""A method that remembers its texts gives the logits of one that computes them each time."""

from __future__ import annotations

import pytest
import torch
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.methods.base import Batch
from vlprompt.serving.texts import remember_texts


@pytest.mark.parametrize("name", ["coop", "cocoop", "proda", "maple", "coop+lamm", "ctp+tft"])
def test_equal_to_computing_them_each_time(name: str) -> None:
    backbone = tiny_backbone()
    build = methods.load(name).build
    task = Task(("red cat", "green dog", "sea"), ("a photo of a {}.",), 2)
    plain, known = (build(backbone, task, {}).eval() for _ in range(2))
    known.load_state_dict(plain.state_dict())
    remember_texts(known)
    generator = torch.Generator().manual_seed(0)
    for size in (3, 1, 4):
        pixels = torch.randn(size, 3, 32, 32, generator=generator)
        features, patches = backbone.vit.patch_features(pixels)
        batch = {"features": Batch(features=features), "pixels": Batch(pixels=pixels),
                 "patches": Batch(features=features, patches=patches)}[plain.needs]  # fmt: skip
        with torch.no_grad():
            assert torch.equal(known(batch).logits, plain(batch).logits)
