"""The interpreter of prompts that can be exported: any number of pictures, nothing kept, no choices on values.

Where the prompts do not depend on the picture, text features are constants that the program is given, and the text tower
is not asked. Where they do, it becomes part of the program.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.towers.transformer import TextTower
from vlprompt.methods.base import Method
from vlprompt.prompts.interpreters.fast import image_features
from vlprompt.prompts.tokens import ImagePrompt, TextPrompt


def without_vocabulary(tower: TextTower) -> TextTower:
    """The same tower (the very weights) without its table of token embeddings, its largest part by far."""
    light = copy.copy(tower)
    light.__dict__["_modules"] = {n: m for n, m in tower._modules.items() if n != "token_embedding"}
    return light


def text_features(tower: TextTower, prompt: TextPrompt) -> Tensor:
    """Unit-length text features, [G, C, d]; the number of prefixes, or of rows, may be symbolic.

    Rows end at the longest prompt. With more rows than lengths, the lengths repeat.
    """
    prefix, suffix = prompt.prefix, prompt.suffix
    longest = prefix.shape[1] + max(prompt.lengths)
    groups, rows = prefix.shape[0], suffix.shape[0]
    x = torch.cat([prefix[:, None].expand(-1, rows, -1, -1), suffix[None].expand(groups, -1, -1, -1)], dim=2)
    x = x.flatten(0, 1)[:, :longest] + tower.positional_embedding[:longest]
    for i, block in enumerate(tower.blocks):
        if 1 <= i <= len(prompt.deep):
            deep = prompt.deep[i - 1].expand(x.shape[0], -1, -1)
            x = torch.cat([x[:, :1], deep, x[:, 1 + deep.shape[1] :]], dim=1)
        x = block(x, causal=True)
    ends = torch.tensor(prompt.lengths, device=x.device) + (prefix.shape[1] - 1)
    x = x.unflatten(0, (-1, len(prompt.lengths)))  # [.., C, L, D]
    picked = x[:, torch.arange(len(prompt.lengths), device=x.device), ends]
    return tower.read_out(picked.flatten(0, 1)).unflatten(0, (groups, rows))


class Traced:
    """Nothing is divided to fit a budget, and texts in words are known from before."""

    kept_as: str | None = "fast"

    def __init__(self, backbone: Backbone) -> None:
        self.backbone, self.budget = backbone, 1 << 62
        self.tower = without_vocabulary(backbone.text)

    def text(self, prompt: TextPrompt) -> Tensor:
        return text_features(self.tower, prompt)

    def image(self, pixels: Tensor, prompt: ImagePrompt | None = None) -> Tensor:
        return (
            self.backbone.image(pixels)
            if prompt is None
            else image_features(self.backbone.vit, prompt, pixels)
        )


@contextmanager
def interpreted(method: Method, interpreter: Any) -> Iterator[None]:
    """The method, and what it wraps, with another interpreter for a while."""
    parts = [part for part in method.modules() if isinstance(part, Method)]
    held = [part.interpreter for part in parts]
    try:
        for part in parts:
            part.interpreter = interpreter
        yield
    finally:
        for part, own in zip(parts, held, strict=True):
            part.interpreter = own
