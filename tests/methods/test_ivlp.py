"""IVLP against formulas: independent tokens in both towers."""

from __future__ import annotations

import pytest
from by_hand import overwrite, overwrite_last
from on_tiny_clip import NAMES, build, clip, evaluated, pixels, same


@pytest.mark.parametrize(("text_depth", "image_depth"), [(1, 1), (3, 2), (2, 12)])
def test_both_towers(text_depth: int, image_depth: int) -> None:
    method = build("ivlp", text_depth=text_depth, image_depth=image_depth, context_tokens=2, image_tokens=3)
    plain, found = clip(), evaluated(method)
    x, ends = plain.tokens(
        [f"a photo of a {name}." for name in NAMES]
    )  # the tokens take the first two words' places
    deep = {i: overwrite(tokens.detach()) for i, tokens in enumerate(method.words.deep, 1)}
    text = plain.text(overwrite(method.words.context.detach())(x), ends, deep)
    before = {i: overwrite_last(tokens.detach()) for i, tokens in enumerate(method.visual.deep, 1)}
    image = plain.image(pixels(), appended=method.visual.tokens.detach(), before=before)
    same(found.text, text)
    same(found.image, image)
    same(found.logits, plain.scale * image @ text.t(), 100)


def test_without_visual_tokens_features_are_enough() -> None:
    method = build("ivlp", image_depth=0)
    assert method.visual is None and method.facts.needs == {"features"} and not method.facts.slow
    assert "image" not in method.facts.per_step
    same(evaluated(method).image, clip().image(pixels()))
