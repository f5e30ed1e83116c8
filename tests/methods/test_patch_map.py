"""The patch map: its formula, the identity before learning, and new names."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch, Method

NAMES = ("cat", "golden retriever", "tea pot")


def build(**options: str) -> Method:
    return methods.load("patch_map").build(tiny_backbone(3), Task(NAMES), options).eval()


def seen(method: Method) -> Batch:
    size = method.backbone.image_sizes.resolution
    pixels = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    features, states = method.backbone.patch_states(pixels)
    return Batch(features=features, patch_states=states)


@torch.no_grad()
def test_the_formula() -> None:
    """Means of the best cosines, picture by picture and class by class."""
    method = build(patches="1,3")
    method.map.add_(0.1 * torch.randn(method.map.shape, generator=torch.Generator().manual_seed(1)))
    batch, text = seen(method), method.frozen_text()
    expected = torch.zeros(4, 3)
    for i, states in enumerate(batch.patch_states):
        local = F.normalize((states @ method.map.t()) @ method.backbone.vit.projection, dim=-1)
        for c in range(3):
            cosines = (local @ text[c]).sort(descending=True).values
            expected[i, c] = method.backbone.logit_scale * (cosines[:1].mean() + cosines[:3].mean()) / 2
    torch.testing.assert_close(method(batch).logits, expected)


@torch.no_grad()
def test_it_begins_at_what_the_patches_are() -> None:
    method = build()
    assert torch.equal(method.map, torch.eye(method.backbone.image_width))
    assert torch.equal(method.map.detach(), method.for_classes(["zebra", "cat"]).map.detach())
    both = method.for_classes(["zebra", "cat"])(seen(method)).logits
    torch.testing.assert_close(both[:, 1], method(seen(method)).logits[:, 0])


@pytest.mark.parametrize("patches", ["", "0", "5,x", "1.5"])
def test_numbers_of_patches_are_checked(patches: str) -> None:
    with pytest.raises(OptionError, match="patches is"):
        build(patches=patches)
