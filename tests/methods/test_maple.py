"""MaPLe against formulas: visual tokens are linear images of those in the text."""

from __future__ import annotations

import pytest
from by_hand import overwrite, overwrite_last
from on_tiny_clip import NAMES, build, clip, evaluated, pixels, same


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_coupled_prompts(depth: int) -> None:
    method, plain = build("maple", depth=depth, context_tokens=2), clip()
    found = evaluated(method)
    tokens = [method.words.context.detach(), *(p.detach() for p in method.words.deep)]
    coupled = [
        p @ layer.weight.t().detach() + layer.bias.detach()
        for p, layer in zip(tokens, method.couplings, strict=True)
    ]
    x, ends = plain.tokens([f"a photo of a {name}." for name in NAMES])
    text = plain.text(overwrite(tokens[0])(x), ends, {i: overwrite(p) for i, p in enumerate(tokens[1:], 1)})
    before = {i: overwrite_last(p) for i, p in enumerate(coupled[1:], 1)}
    image = plain.image(pixels(), appended=coupled[0], before=before)
    same(found.text, text)
    same(found.image, image)
    same(found.logits, plain.scale * image @ text.t(), 100)


def test_published_lamm_writes_its_tokens_behind_the_context() -> None:
    facts = build("maple", context_tokens=5).facts
    assert (facts.published_label_position, facts.published_label_tokens) == (6, 1)
    assert build("coop").facts.published_label_position is None
