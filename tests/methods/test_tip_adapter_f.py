"""Tip-Adapter-F: the keys of Tip-Adapter are what learns (the formula of both is in test_tip_adapter.py)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from test_tip_adapter import NONE, build, data

from vlprompt.methods.base import Batch


def test_keys_start_from_the_pictures_and_alpha_and_beta_stay() -> None:
    method = build("tip_adapter_f").train()
    features, labels = data(3, views=2)
    method.prepare(features, labels, *NONE)
    torch.testing.assert_close(method.keys.detach(), F.normalize(features.mean(0), dim=-1))
    assert [n for n, p in method.named_parameters() if p.requires_grad] == ["keys"]
    assert build().trainable_parameters() != method.trainable_parameters()


def test_the_gradient_of_a_key_by_hand() -> None:
    method = build("tip_adapter_f", alpha=1.5, beta=2.0).train()
    features, labels = data(1)
    method.prepare(features, labels, *NONE)
    output = method(Batch(features=features[0]))
    F.cross_entropy(output.logits, labels).backward()
    wrong = output.logits.softmax(-1).detach() - F.one_hot(labels, 3)  # d loss / d logits, times the pictures
    for i, y in enumerate(labels.tolist()):
        votes = 1.5 * torch.exp(-2.0 * (1 - features[0] @ method.keys[i].detach()))
        expected = (wrong[:, y] * votes * 2.0) @ features[0] / len(labels)
        torch.testing.assert_close(method.keys.grad[i], expected, atol=1e-5, rtol=1e-4)
