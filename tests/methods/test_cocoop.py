"""CoCoOp against formulas, picture by picture: the context that a small network shifts by what is in the picture."""

from __future__ import annotations

import torch
from by_hand import overwrite
from on_tiny_clip import NAMES, build, clip, evaluated, pixels, same


def test_every_picture_has_a_context_of_its_own() -> None:
    method, plain = build("cocoop"), clip()
    found = evaluated(method)
    x, ends = plain.tokens([f"a photo of a {name}." for name in NAMES])
    for number, image in enumerate(plain.image(pixels())):
        hidden = (method.reduce.weight @ image + method.reduce.bias).clamp(min=0)
        shift = (method.expand.weight @ hidden + method.expand.bias).detach()
        text = plain.text(overwrite(method.context.detach() + shift)(x), ends)
        same(found.text[number], text)
        same(found.logits[number], plain.scale * text @ image, 100)


def test_the_network_is_sixteen_times_narrower() -> None:
    method = build("cocoop")
    assert method.reduce.weight.shape == (96 // 16, 96) and method.expand.weight.shape == (64, 96 // 16)
    assert method.facts.per_image_text
    assert not torch.equal(*evaluated(method).text[:2])
