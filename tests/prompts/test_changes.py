"""Low-rank changes of attention matrices: both interpreters give what the formula gives, whatever is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support import tiny_backbone
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.towers.changes import Matrix, MatrixChange, changed
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.interpreters.plain import Plain
from vlprompt.prompts.tokens import ImagePrompt, TextPrompt
from vlprompt.prompts.words import template_prompt

ALL: tuple[Matrix, ...] = ("q", "k", "v", "o")
NAMES = ("cat", "golden retriever", "bird's nest")


def drawn(
    width: int, tokens: int, drop: bool, seed: int, matrices: Sequence[Matrix] = ALL
) -> list[MatrixChange]:
    """Changes of all four matrices, or some, in blocks 0 and 2; what they see differs by row, token and number."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return (torch.randn(*shape, generator=generator) * 0.2).requires_grad_()

    found = []
    for block in (0, 2):
        for matrix in matrices:
            kept = torch.rand(len(NAMES), tokens, width, generator=generator) > 0.25 if drop else None
            found.append(MatrixChange(block, matrix, normal(2, width), normal(width, 2), kept, 0.75))
    return found


def text(backbone: Backbone, drop: bool = False, matrices: Sequence[Matrix] = ALL) -> TextPrompt:
    prompt = template_prompt(backbone, NAMES, "a photo of a {}.")
    longest = prompt.prefix.shape[1] + max(prompt.lengths)
    return replace(prompt, changes=drawn(backbone.text_width, longest, drop, 1, matrices))


def image(backbone: Backbone, drop: bool = False, matrices: Sequence[Matrix] = ALL) -> ImagePrompt:
    return ImagePrompt(changes=drawn(backbone.image_width, backbone.image_tokens, drop, 2, matrices))


def pixels() -> Tensor:
    return torch.randn(len(NAMES), 3, 32, 32, generator=torch.Generator().manual_seed(3))


def features(
    interpreter: Fast | Plain, drop: bool, matrices: Sequence[Matrix] = ALL
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Texts, pictures, and the gradients of all changes."""
    backbone = interpreter.backbone
    of_text, of_image = text(backbone, drop, matrices), image(backbone, drop, matrices)
    words, pictures = interpreter.text(of_text)[0], interpreter.image(pixels(), of_image)
    F.cross_entropy(30 * pictures @ words.t(), torch.tensor([2, 0, 1])).backward()
    learned = [t for c in [*of_text.changes, *of_image.changes] for t in (c.down, c.up)]
    return words.detach(), pictures.detach(), [t.grad for t in learned if t.grad is not None]


@pytest.mark.parametrize("budget", [4 << 30, 1 << 16], ids=["whole", "in chunks"])
@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("matrices", [ALL, ("k",), ("v", "q"), ("o",)], ids="".join)
def test_fast_equals_plain(drop: bool, budget: int, matrices: Sequence[Matrix]) -> None:
    backbone = tiny_backbone(3)
    plain, fast = (features(make, drop, matrices) for make in (Plain(backbone), Fast(backbone, budget)))
    assert len(plain[2]) == len(fast[2]) == 8 * len(matrices)
    for expected, found in zip([*plain[:2], *plain[2]], [*fast[:2], *fast[2]], strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [Plain, Fast])
def test_a_change_is_what_is_added_to_the_matrix(make: type[Plain] | type[Fast]) -> None:
    """The same products written into the weights of a copy of the tower give the same features."""
    backbone = tiny_backbone(3)
    other = replace(backbone, text=deepcopy(backbone.text), image=deepcopy(backbone.image))
    of_text, of_image = text(backbone), image(backbone)
    towers = ((other.text, of_text.changes), (other.vit, of_image.changes))
    with torch.no_grad():
        for tower, changes in towers:
            for change in changes:
                block, width = tower.blocks[change.block], change.up.shape[0]
                layer = block.out if change.matrix == "o" else block.qkv
                first = "qkv".find(change.matrix) * width if change.matrix != "o" else 0
                layer.weight[first : first + width] += change.up @ change.down
        expected = (
            make(other).text(replace(of_text, changes=()))[0],
            make(other).image(pixels(), ImagePrompt()),
        )
    learning = make(backbone).text(of_text)[0], make(backbone).image(pixels(), of_image)
    with torch.no_grad():  # then one product does for both
        merged = make(backbone).text(of_text)[0], make(backbone).image(pixels(), of_image)
    for found in (learning, merged):
        for one, right in zip(found, expected, strict=True):
            torch.testing.assert_close(one.detach(), right, atol=1e-5, rtol=1e-4)


def test_the_tower_itself_does_not_change() -> None:
    backbone = tiny_backbone(3)
    before = [p.clone() for p in backbone.parameters()]
    blocks = list(backbone.text.blocks)
    view = changed(backbone.text, text(backbone).changes)
    assert view is not backbone.text and view.blocks[1] is blocks[1] and view.blocks[0] is not blocks[0]
    assert view.blocks[0].fc is blocks[0].fc
    features(Fast(backbone), True)
    assert all(torch.equal(a, b) for a, b in zip(before, backbone.parameters(), strict=True))
    assert list(backbone.text.blocks) == blocks and changed(backbone.text, ()) is backbone.text


def test_half_precision() -> None:
    backbone = tiny_backbone(3).to("cpu", torch.bfloat16)
    for drop in (False, True):
        words, pictures, gradients = features(Fast(backbone), drop)
        assert words.dtype == pictures.dtype == torch.float32
        assert all(
            torch.isfinite(t).all() and t.dtype == torch.float32 for t in [words, pictures, *gradients]
        )
