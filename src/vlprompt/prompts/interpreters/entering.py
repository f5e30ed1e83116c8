"""Learned vectors on their way into the blocks of a tower, and whole rows evaluated with them.

Nothing here depends on values or keeps anything, and the numbers of rows, prefixes and pictures may be symbolic: what is
exported goes through these functions too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vlprompt.backbones.towers.changes import changed
from vlprompt.backbones.towers.text import TextTower
from vlprompt.backbones.towers.vit import Vision
from vlprompt.prompts.tokens import BlockTokens, ImagePrompt, TextPrompt


def enter(x: Tensor, entering: Sequence[BlockTokens], block: int, start: int) -> Tensor:
    """Tokens [B, L, D] with the vectors that enter before `block`, behind the first `start` tokens."""
    for one in entering:
        if one.block != block:
            continue
        new = one.values
        if one.own:  # rows repeat the classes
            new = new.repeat(x.shape[0] // new.shape[0], 1, 1)
        new = new.expand(x.shape[0], -1, -1)
        behind = start if one.insert else start + new.shape[1]
        if one.weight != 1.0 and not one.insert:
            new = one.weight * new + (1 - one.weight) * x[:, start:behind]
        x = torch.cat([x[:, :start], new, x[:, behind:]], dim=1)
    return x


def row_features(tower: TextTower, prompt: TextPrompt) -> Tensor:
    """Unit-length text features, [G, C, d], of rows that share nothing; the number of prefixes, or of rows, may be
    symbolic.

    Rows end at the longest prompt. With more rows than lengths, the lengths repeat.
    """
    tower = changed(tower, prompt.changes)
    prefix, suffix = prompt.prefix, prompt.suffix
    longest = max(prompt.lengths)
    groups, rows = prefix.shape[0], suffix.shape[0]
    x = torch.cat(
        [prefix[:, None].expand(-1, rows, -1, -1), suffix[None, :, :longest].expand(groups, -1, -1, -1)],
        dim=2,
    ).flatten(0, 1)
    counts = torch.tensor(prompt.lengths, device=x.device) + prefix.shape[1]
    counts = counts.expand(x.shape[0] // len(prompt.lengths), -1).flatten()
    entering = prompt.entering()

    def entered(block: int, x: Tensor) -> Tensor:
        return enter(x, entering, block, prompt.start)

    found = tower.encode(x, counts, entered if entering else None)
    return found.unflatten(0, (groups, rows))


def image_features(tower: Vision, prompt: ImagePrompt, pixels: Tensor) -> Tensor:
    """Unit-length features of pictures with visual prompts, [B, d]; the last block where it is read only."""
    return image_and_inserted(tower, prompt, pixels)[0]


def image_and_inserted(tower: Vision, prompt: ImagePrompt, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Unit-length features [B, d], and the normed last states of inserted tokens, [B, n, W]."""
    with torch.no_grad():
        x = tower.tokens(pixels)
    tower = changed(tower, prompt.changes)

    def entered(block: int, x: Tensor) -> Tensor:
        if block == 0 and prompt.tokens is not None:
            x = torch.cat([x, tower.ln_pre(prompt.tokens).expand(x.shape[0], -1, -1)], dim=1)
        if 1 <= block <= len(prompt.deep):
            deep = prompt.deep[block - 1].expand(x.shape[0], -1, -1)
            x = torch.cat([x[:, : x.shape[1] - deep.shape[1]], deep], dim=1)
        return enter(x, prompt.inner, block, tower.start)

    return tower.encode(x, entered, prompt.inserted(len(tower.blocks)))
