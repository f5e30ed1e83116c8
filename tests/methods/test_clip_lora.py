"""CLIP-LoRA: its formula with true gradients at any dropout, which blocks change, and that the towers do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import by_hand
import pytest
import torch
from against_formulas import NAMES, build, check, pixels
from support import tiny_backbone
from torch import Tensor

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch, Method
from vlprompt.methods.clip_lora import changed_blocks

TEMPLATE = "a photo of a {}."
TEXTS = [TEMPLATE.format(name) for name in NAMES]


def hand(scaling: float, drop: Callable[[str, Tensor], Tensor] = lambda name, x: x) -> Any:
    return lambda *given: by_hand.clip_lora(*given, TEXTS, scaling, drop)


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
@pytest.mark.parametrize(
    ("options", "scaling"),
    [
        ({}, 2**-0.5),
        ({"encoder": "vision", "matrices": "qvo", "rank": 4, "alpha": 2}, 1.0),
        ({"encoder": "text", "matrices": "k", "rank": 1}, 1.0),
        ({"blocks": "2-3", "matrices": "o"}, 2**-0.5),
        ({"blocks": "3", "matrices": "kq"}, 2**-0.5),
    ],
)
def test_the_formula(options: dict[str, Any], scaling: float, plain: bool) -> None:
    check(
        "clip_lora",
        options | {"dropout": 0.0},
        hand(scaling),
        weights={"ce": 1.0},
        plain=plain,
        template=TEMPLATE,
    )


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
@pytest.mark.parametrize("options", [{}, {"encoder": "text", "matrices": "vo"}, {"blocks": "3"}])
def test_what_is_dropped_is_dropped_from_the_low_rank_branch_alone(
    options: dict[str, Any], plain: bool
) -> None:
    """What each change did not see is asked of the method; the formula drops the same."""
    seen: dict[str, Tensor] = {}

    def watch(method: Any) -> None:
        names = {ours: theirs for theirs, ours in method.published_names().items()}
        draw = method.draw

        def drawn(name: str, step: int, shape: tuple[int, int, int]) -> Tensor:
            seen[names[f"{name}.down"].removesuffix(".w_lora_A")] = kept = draw(name, step, shape)
            return kept

        method.draw = drawn

    def drop(name: str, x: Tensor) -> Tensor:
        kept = torch.zeros(x.shape)
        given = seen[name]
        kept[:, : given.shape[1]] = given[:, : x.shape[1]]
        return x * kept / 0.75

    # the formula runs first in `check`, so the drawn masks have to be known before: one pass for them
    first = build("clip_lora", options, TEMPLATE, plain)
    watch(first)
    first.train()(Batch(pixels=pixels()))
    assert seen and all(0.5 < float(kept.float().mean()) < 0.95 for kept in seen.values())
    check("clip_lora", options, hand(2**-0.5, drop), weights={"ce": 1.0}, plain=plain, template=TEMPLATE)


def fresh(**options: Any) -> Method:
    return methods.load("clip_lora").build(tiny_backbone(3), Task(NAMES), options)


def test_it_starts_as_the_frozen_model_and_drops_nothing_in_evaluation() -> None:
    method = fresh().eval()
    batch = Batch(pixels=pixels())
    with torch.no_grad():
        output = method(batch)
    torch.testing.assert_close(output.image, method.backbone.image_features(batch.pixels), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.text, method.frozen_text(), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.logits, 100 * output.image @ output.text.t())


def test_every_step_drops_other_numbers_and_a_loaded_state_the_same() -> None:
    first, second = build("clip_lora", {}).train(), build("clip_lora", {}).train()
    batch = Batch(pixels=pixels())
    outputs = [first(batch).logits for _ in range(2)]
    assert not torch.equal(*outputs)
    second(batch)
    second.load_state_dict(second.state_dict())
    assert torch.equal(second(batch).logits, outputs[1])


def test_without_the_image_tower_pictures_are_encoded_once() -> None:
    assert fresh(encoder="text").facts.needs == {"features"}
    assert fresh(encoder="vision").facts.needs == {"pixels"}


def test_parts_of_a_tower() -> None:
    assert changed_blocks("bottom", 12) == [0, 1, 2, 3] and changed_blocks("mid", 12) == [4, 5, 6, 7]
    assert changed_blocks("up", 12) == [8, 9, 10, 11] == changed_blocks("9-12", 12)
    assert changed_blocks("half-bottom", 12) == list(range(6)) and changed_blocks("half-up", 12) == list(
        range(6, 12)
    )
    assert changed_blocks("top3", 12) == [9, 10, 11] and changed_blocks("all", 5) == list(range(5))
    assert changed_blocks("bottom", 5) == [0, 1, 2, 3]  # of a small tower: by number, as published
    assert changed_blocks("half-up", 24) == list(range(12, 24)) and changed_blocks("top3", 24) == [21, 22, 23]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"matrices": "qkx"}, "matrices is"),
        ({"matrices": ""}, "matrices is"),
        ({"blocks": "topp"}, "blocks is"),
        ({"blocks": "up"}, "nothing would be learned"),
        ({"dropout": 1.0}, "dropout is"),
    ],
)
def test_options_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        fresh(**options)
