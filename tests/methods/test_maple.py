"""MaPLe against formulas: visual tokens are linear images of those in the text."""

from __future__ import annotations

import pytest
from by_hand import overwrite, overwrite_last
from on_tiny_clip import NAMES, build, clip, evaluated, pixels, same
from support import tiny_backbone
from torch import nn

from vlprompt import methods
from vlprompt.contract import check_method
from vlprompt.data.task import Task


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


@pytest.mark.parametrize("towers", [{"vision_layers": 1}, {"text_layers": 1}])
@pytest.mark.parametrize("name", ["maple", "maple+lamm"])
def test_everything_that_learns_acts_where_the_towers_differ_in_length(
    name: str, towers: dict[str, int]
) -> None:
    check_method(name, tiny_backbone(4, **towers), {"depth": 3}, steps=5)


def test_maps_into_blocks_that_are_not_there_are_passed_over_in_earlier_runs() -> None:
    method = methods.load("maple").build(tiny_backbone(4, vision_layers=1), Task(NAMES), {"depth": 3})
    assert len(method.couplings) == 1 and len(method.words.deep) == 2
    held = method.state_dict()
    earlier = held | {
        f"couplings.{j}.{part}": tensor
        for j in (1, 2)
        for part, tensor in nn.Linear(2, 3).state_dict().items()
    }
    method.load_state_dict(earlier)
    with pytest.raises(RuntimeError, match="size mismatch for couplings.0.weight"):
        method.load_state_dict(held | {"couplings.0.weight": nn.Linear(2, 3).weight})


def test_published_lamm_writes_its_tokens_behind_the_context() -> None:
    facts = build("maple", context_tokens=5).facts
    assert (facts.published_label_position, facts.published_label_tokens) == (6, 1)
    assert build("coop").facts.published_label_position is None
