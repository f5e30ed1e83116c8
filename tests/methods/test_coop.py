"""CoOp against formulas: where context and name stand, contexts of classes, and the loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from by_hand import overwrite
from on_tiny_clip import LABELS, NAMES, build, clip, evaluated, pixels, placed, same

from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch


@pytest.mark.parametrize("own", [False, True])
def test_the_context_stands_before_the_name(own: bool) -> None:
    method = build("coop", context_tokens=3, class_specific=own)
    plain, found = clip(), evaluated(method)
    x, ends = plain.tokens(placed(3))
    text = plain.text(overwrite(method.context.detach())(x), ends)
    same(found.text, text)
    same(found.logits, plain.scale * plain.image(pixels()) @ text.t(), 100)


@pytest.mark.parametrize("position", ["middle", "front"])
def test_the_name_in_the_middle_or_in_front(position: str) -> None:
    method = build("coop", context_tokens=4, name_position=position)
    plain = clip()
    ahead = 2 if position == "middle" else 0
    x, ends = plain.tokens(placed(4))
    context = method.context.detach()
    rows = []
    for row, end in zip(x, ends, strict=True):
        name = row[5 : end - 1]  # behind the four places, before the full stop
        rest = torch.cat([context[:ahead], name, context[ahead:], row[end - 1 :]])
        rows.append(torch.cat([row[:1], rest]))
    same(evaluated(method).text, plain.text(torch.stack(rows), ends))


def test_words_start_the_context() -> None:
    start = build("coop", away=0.0, context_init="a photo of a")
    same(evaluated(start).text, clip().of([f"a photo of a {name}." for name in NAMES]))


def test_the_loss_is_cross_entropy() -> None:
    method = build("coop", context_tokens=2).train()
    output = method(Batch(pixels=pixels()))
    terms = method.loss(output, LABELS)
    assert set(terms) == {"ce"}
    same(terms["ce"], F.cross_entropy(output.logits, LABELS))
    same(method.total_loss(terms), terms["ce"])


def test_a_context_of_each_class_belongs_to_the_classes() -> None:
    method = build("coop", context_tokens=2, class_specific=True)
    assert not method.facts.takes_new_names and build("coop").facts.takes_new_names
    with pytest.raises(OptionError, match="class-specific context belongs to the classes"):
        method.for_classes(["cat", "teapot"])
