"""VPT against formulas: tokens beside the patches, replaced block by block; the text stays as it is."""

from __future__ import annotations

import pytest
from by_hand import overwrite_last
from on_tiny_clip import NAMES, build, clip, evaluated, pixels, same


@pytest.mark.parametrize("depth", [1, 2, 12])
def test_visual_tokens(depth: int) -> None:
    method, plain = build("vpt", image_tokens=2, image_depth=depth), clip()
    found = evaluated(method)
    visual = method.visual
    assert len(visual.deep) == min(depth, 3) - 1  # the tower has three blocks
    before = {i: overwrite_last(tokens.detach()) for i, tokens in enumerate(visual.deep, 1)}
    image = plain.image(pixels(), appended=visual.tokens.detach(), before=before)
    text = plain.of([f"a photo of a {name}." for name in NAMES])
    same(found.image, image)
    same(found.text, text)
    same(found.logits, plain.scale * image @ text.t(), 100)
