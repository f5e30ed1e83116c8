"""MMRL and MMRL++: their formulas, where tokens enter, and which output answers."""

from __future__ import annotations

from typing import Any

import by_hand
import pytest
import torch
from against_formulas import NAMES, TEMPLATE, build, check, pixels

from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch
from vlprompt.methods.mmrl import block_numbers

TEXTS = [TEMPLATE.format(name) for name in NAMES]
SMALL: dict[str, Any] = {"tokens": 3, "width": 20, "alpha": 0.6, "regularisation": 2.0}
WEIGHTS = {"ce": 0.6, "ce_rep": 0.4, "image": 2.0, "text": 2.0}


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
@pytest.mark.parametrize(
    ("blocks", "layers"), [("", [2, 3]), ("1-3", [1, 2, 3]), ("3", [3]), ("1,3", [1, 3]), ("2-12", [2, 3])]
)
@pytest.mark.parametrize("name", ["mmrl", "mmrlpp"])
def test_the_formula(name: str, blocks: str, layers: list[int], plain: bool) -> None:
    extra = {"beta": 0.3, "residual_rank": 2, "projection_rank": 5} if name == "mmrlpp" else {}
    check(
        name,
        SMALL | extra | {"blocks": blocks},
        lambda *given: by_hand.mmrl(*given, TEXTS, layers, 0.6, extra.get("beta")),
        weights=WEIGHTS,
        logits="logits_fusion",
        plain=plain,
    )


@pytest.mark.parametrize(
    ("answer", "key"), [("fusion", "logits_fusion"), ("class_token", "logits"), ("tokens", "logits_rep")]
)
def test_any_of_the_three_outputs_can_answer(answer: str, key: str) -> None:
    check(
        "mmrl",
        SMALL | {"answer": answer},
        lambda *given: by_hand.mmrl(*given, TEXTS, [2, 3], 0.6),
        weights=WEIGHTS,
        logits=key,
    )


@pytest.mark.parametrize("name", ["mmrl", "mmrlpp"])
def test_the_published_rule_is_one_for_all_names_of_a_list(name: str) -> None:
    method = build(name, SMALL).eval()

    def answers(names: list[str] | tuple[str, ...]) -> str:
        with torch.no_grad():
            output = method.for_classes(names).eval()(Batch(pixels=pixels()))
        keys = ("fusion_logits", "class_token_logits", "token_logits")
        return next(key for key in keys if torch.equal(output.logits, output.extra[key]))

    assert answers(NAMES) == answers(NAMES[1:3]) == "fusion_logits"
    assert answers(["tram", "bus"]) == "class_token_logits"
    assert answers([*NAMES, "tram"]) == "class_token_logits"
    assert method.for_classes(["tram"]).for_classes(NAMES).answer() == "fusion"
    assert method.extend(["tram"]).answer() == "fusion"  # they are learned from now on


def test_maps_of_a_side_start_alike() -> None:
    from support import tiny_backbone

    from vlprompt import methods
    from vlprompt.data.task import Task

    method = methods.load("mmrl").build(tiny_backbone(3), Task(NAMES), SMALL)
    for maps in (method.to_text, method.to_image):
        assert torch.equal(maps[0].weight, maps[1].weight) and maps[0].weight is not maps[1].weight
    again = methods.load("mmrlpp").build(tiny_backbone(3), Task(NAMES), SMALL)
    torch.testing.assert_close(again.read_out(), again.backbone.vit.projection)
    a, b = again.text_tokens()
    torch.testing.assert_close(a, b)


def test_numbers_of_blocks() -> None:
    assert block_numbers("", 12) == list(range(5, 12)) == block_numbers("6-12", 12)
    assert block_numbers("2, 4-5", 12) == [1, 3, 4] and block_numbers("4,2,2", 12) == [1, 3]
    assert block_numbers("6-12", 8) == [5, 6, 7] and block_numbers("", 3) == [1, 2]
    for wrong in ("0-3", "5-2", "a", "3,", "-1", "1-2-3", "1;2"):
        with pytest.raises(OptionError, match="blocks is"):
            block_numbers(wrong, 12)
    with pytest.raises(OptionError, match="the text tower has only 3"):
        build("mmrl", SMALL | {"blocks": "6-12"})
    with pytest.raises(OptionError, match="blocks is"):
        build("mmrl", {"blocks": "six"})


def test_the_second_class_token_needs_a_vit() -> None:
    from support import tiny_resnet

    from vlprompt import methods
    from vlprompt.data.task import Task
    from vlprompt.errors import BackboneError

    with pytest.raises(BackboneError, match="ResNet"):
        methods.load("mmrl").build(tiny_resnet(), Task(NAMES))
