"""LAMM against formulas: label tokens in the names' places, and the three terms of its loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from by_hand import overwrite, unit
from on_tiny_clip import LABELS, NAMES, build, clip, evaluated, pixels, placed, same

from vlprompt.methods.base import Batch


@pytest.mark.parametrize("name", ["lamm", "coop+lamm"])
def test_label_tokens_stand_in_the_names_places(name: str) -> None:
    method, plain = build(name, **({"context_tokens": 3} if name != "lamm" else {})), clip()
    found = evaluated(method)
    words = 4 if name == "lamm" else 3
    x, ends = plain.tokens([f"a photo of a {n}." for n in NAMES] if name == "lamm" else placed(3))
    if name != "lamm":
        x = overwrite(method.base.context.detach())(x)
    counts = [len(plain.encode(n)) - 2 for n in NAMES]
    x = x.clone()
    for row, count in enumerate(counts):
        x[row, 1 + words : 1 + words + count] = method.label_tokens.detach()[row, :count]
    text = plain.text(x, ends)
    same(found.text, text)
    same(found.logits, plain.scale * plain.image(pixels()) @ text.t(), 100)


def test_the_terms_of_the_loss() -> None:
    """As the paper has them: the reference is the frozen template, which is also what is distilled."""
    method, plain = build("coop+lamm", context_tokens=3, temperature=3.0, logits_weight=0.2).train(), clip()
    output = method(Batch(pixels=pixels()))
    terms = method.loss(output, LABELS)
    anchor = plain.of([f"a photo of a {n}." for n in NAMES])
    image = plain.image(pixels())
    same(output.extra["reference"], anchor)
    same(terms["ce"], F.cross_entropy(output.logits, LABELS), 100)
    moved = (method.label_tokens - method.label_reference).pow(2).sum()
    same(terms["parameter"], moved)
    own = output.text[LABELS]
    same(terms["feature"], (1 - (unit(own) * anchor[LABELS]).sum(-1)).mean())
    target = F.softmax(plain.scale * image @ anchor.t() / 3.0, dim=-1)
    logs = F.log_softmax(output.logits / 3.0, dim=-1)
    distilled = 9.0 * (target * (target.log() - logs)).sum(-1).mean()
    torch.testing.assert_close(terms["logits"], distilled, atol=1e-3, rtol=1e-3)
    total = terms["ce"] + moved / 2 + terms["feature"] + 0.2 * terms["logits"]  # lambda_1 = 1 / shots
    same(method.total_loss(terms), total, 100)


def test_what_the_published_code_does_otherwise() -> None:
    """Its reference is the same prompt with the names; two bits of the formula differ."""
    method, plain = build("coop+lamm", context_tokens=3, reference="published_code").train(), clip()
    assert method.label_tokens.shape[1] == 1  # as many as the shortest name has
    output = method(Batch(pixels=pixels()))
    x, ends = plain.tokens(placed(3))
    names = plain.text(overwrite(method.base.context.detach())(x), ends)
    same(output.extra["reference"].detach(), names)
    logits = plain.scale * plain.image(pixels()) @ names.t()
    same(output.extra["reference_logits"].detach(), logits, 100)
    terms = method.loss(output, LABELS)
    learner, reference = output.logits / 2.0, logits / 2.0  # T = 2: from the learner to the reference
    expected = 4.0 * -(learner.softmax(-1) * reference.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(terms["logits"], expected, atol=1e-3, rtol=1e-3)
    assert method.loss_weights()["parameter"] == 1.0
    assert (
        float(method.loss(output, torch.zeros(4, dtype=torch.long))["feature"]) == 0
    )  # one class in the batch


@pytest.mark.parametrize("switch", ["parameter", "feature", "logits"])
def test_each_term_can_be_left_out(switch: str) -> None:
    method = build("lamm", **{f"{switch}_loss": False}).train()
    assert switch not in method.loss(method(Batch(pixels=pixels())), LABELS)


def test_nothing_to_compare_with_is_read_where_no_term_needs_it() -> None:
    method = build("coop+lamm", feature_loss=False, logits_loss=False).train()
    assert len(method.texts()) == 1 and not method(Batch(pixels=pixels())).extra
    assert len(build("coop+lamm").train().texts()) == 2
    assert len(build("coop+lamm").eval().texts()) == 1


def test_names_that_were_learned_keep_their_tokens() -> None:
    method = build("coop+lamm")
    other = method.for_classes(["teapot", "golden retriever"])
    torch.testing.assert_close(other.label_tokens[1], method.label_tokens[1])
    same(evaluated(other).text[1:], evaluated(method).text[1:2])
    fresh = build("coop+lamm", away=0.0).for_classes(["teapot", "cat"])
    plain = build("coop+lamm", away=0.0).base.for_classes(["teapot", "cat"])
    same(evaluated(fresh).text[:1], evaluated(plain).text[:1])
