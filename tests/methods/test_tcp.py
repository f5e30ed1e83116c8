"""TCP: its formula on towers of several depths, and what new classes get."""

from __future__ import annotations

import by_hand
import pytest
import torch
from against_formulas import NAMES, TEMPLATE, build, check, pixels

from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch

TEACHERS = [TEMPLATE.format(name) for name in NAMES]
PROMPTS = [f"X X X X {name}, a type of thing." for name in NAMES]


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
@pytest.mark.parametrize(
    ("options", "texts", "block"),
    [
        ({}, PROMPTS, 2),
        ({"block": 2}, PROMPTS, 1),
        ({"block": 1}, PROMPTS, 0),
        ({"block": 3}, PROMPTS, 2),
        ({"context_tokens": 2}, [f"X X {name}, a type of thing." for name in NAMES], 2),
        (
            {"prompt_template": "a photo of a person doing {}"},
            [f"a photo of a person doing {name}" for name in NAMES],
            2,
        ),
    ],
)
def test_the_formula(options: dict[str, object], texts: list[str], block: int, plain: bool) -> None:
    check(
        "tcp",
        options | {"weight": 2.0, "reference": "published_code"},
        lambda *given: by_hand.tcp(*given, texts, TEACHERS, block),
        weights={"ce": 1.0, "distance": 2.0},
        plain=plain,
    )


def test_a_block_that_the_tower_has_not_is_said() -> None:
    with pytest.raises(OptionError, match="block is 50, but the text tower has only 3"):
        build("tcp", {"block": 50})


def test_the_papers_distance_is_twice_the_codes() -> None:
    check(
        "tcp",
        {"weight": 2.0},
        lambda *given: by_hand.tcp(*given, PROMPTS, TEACHERS, 2),
        weights={"ce": 1.0, "distance": 2.0},
        factors={"distance": 2.0},
    )


def test_the_ninth_of_twelve_blocks_unless_told_otherwise() -> None:
    assert build("tcp", {}, text_layers=12).block == 8
    assert build("tcp", {"block": 4}, text_layers=12).block == 3


def test_new_classes_get_vectors_of_their_own_and_old_ones_keep_theirs() -> None:
    method = build("tcp", {}).eval()
    other = method.for_classes(["golden retriever", "tram", "cat"])
    torch.testing.assert_close(other.class_tokens()[[2, 0]], method.class_tokens()[:2])
    with torch.no_grad():
        ours, theirs = method(Batch(pixels=pixels())), other(Batch(pixels=pixels()))
    torch.testing.assert_close(theirs.logits[:, [2, 0]], ours.logits[:, :2], atol=1e-4, rtol=1e-4)


def test_label_tokens_learn_and_the_template_stays() -> None:
    method = build("tcp+lamm", {}).train()
    output = method(Batch(pixels=pixels()))
    method.loss(output, torch.tensor([2, 0, 3]))["distance"].backward()
    assert float(method.label_tokens.grad.abs().sum()) > 0
    torch.testing.assert_close(output.extra["teacher_text"], build("tcp", {}).frozen_text())
