"""KgCoOp: its formula, the two distances, and what is read when."""

from __future__ import annotations

import by_hand
import pytest
import torch
from against_formulas import LABELS, NAMES, TEMPLATE, build, check, pixels

from vlprompt.methods.base import Batch
from vlprompt.prompts.tokens import FrozenText

TEACHERS = [TEMPLATE.format(name) for name in NAMES]
PROMPTS = [f"a photo of a {name}." for name in NAMES]


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
@pytest.mark.parametrize(("reference", "factor"), [("paper", 2.0), ("published_code", 1.0)])
def test_the_formula(reference: str, factor: float, plain: bool) -> None:
    check(
        "kgcoop",
        {"reference": reference, "weight": 3.0},
        lambda *given: by_hand.kgcoop(*given, PROMPTS, TEACHERS),
        weights={"ce": 1.0, "distance": 3.0},
        factors={"distance": factor},
        plain=plain,
    )


def test_the_papers_distance_is_the_squared_one() -> None:
    method = build("kgcoop", {}).train()
    output = method(Batch(pixels=pixels()))
    apart = (output.text - output.extra["teacher_text"]).pow(2).sum(dim=-1).mean()
    torch.testing.assert_close(method.loss(output, LABELS)["distance"], apart)


def test_the_template_is_read_in_training_only_and_once() -> None:
    method = build("kgcoop", {})
    frozen = [text for text in method.train().texts() if isinstance(text, FrozenText)]
    assert [text.templates for text in frozen] == [(TEMPLATE,)]
    first, second = (method(Batch(pixels=pixels())).extra["teacher_text"] for _ in range(2))
    assert first.data_ptr() == second.data_ptr() and not first.requires_grad
    assert len(method.eval().texts()) == 1
    assert "teacher_text" not in method(Batch(pixels=pixels())).extra


def test_label_tokens_learn_and_the_template_stays() -> None:
    method = build("kgcoop+lamm", {}).train()
    output = method(Batch(pixels=pixels()))
    close = build("kgcoop", {}).frozen_text()
    torch.testing.assert_close(output.extra["teacher_text"], close)
    terms = method.loss(output, LABELS)
    assert {"ce", "distance", "parameter", "feature", "logits"} == set(terms)
    terms["distance"].backward()
    assert method.label_tokens.grad is not None and float(method.label_tokens.grad.abs().sum()) > 0
