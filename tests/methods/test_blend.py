"""Blend: the weighted sum of its parts' logits, and which part answers names that were never learned."""

from __future__ import annotations

import pytest
import torch
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch

NAMES = ("cat", "golden retriever", "tea pot")


def build(**options):
    return methods.load("blend").build(tiny_backbone(), Task(NAMES, shots=2), options).eval()


def batch(backbone):
    features = torch.randn(5, backbone.embed_dim, generator=torch.Generator().manual_seed(0))
    return Batch(features=torch.nn.functional.normalize(features, dim=-1))


def test_the_formula():
    method = build(parts="zeroshot lamm", weights="0.5 2")
    seen = batch(method.backbone)
    with torch.no_grad():
        expected = 0.5 * method.part("zeroshot")(seen).logits + 2 * method.part("lamm")(seen).logits
        torch.testing.assert_close(method(seen).logits, expected)


def test_one_weight_for_each_part():
    with pytest.raises(OptionError):
        build(parts="zeroshot lamm", weights="1")


def test_parts_work_on_kept_features():
    with pytest.raises(OptionError, match="features"):
        build(parts="zeroshot maple", weights="1 1")
