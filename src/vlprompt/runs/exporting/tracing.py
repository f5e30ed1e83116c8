"""The interpreter of prompts that can be exported: any number of pictures, nothing kept, no choices on values.

Where the prompts do not depend on the picture, text features are constants: they come from the method's own
interpreter and are written into the program. Where they do, the text tower becomes part of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.towers.transformer import TextTower
from vlprompt.methods.base import Batch, Method
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
    """Text features that are constants are given out again in the order in which the method asked for them."""

    budget = 1 << 62

    def __init__(self, method: Method) -> None:
        self.backbone: Backbone = method.backbone
        self.own = method.interpreter
        self.fixed = not method.per_image_text
        self.tower = without_vocabulary(self.backbone.text)
        self.known: Sequence[Tensor] = ()
        self.asked: list[Tensor] | None = None
        self.at = 0

    def text(self, prompt: TextPrompt) -> Tensor:
        if not self.fixed:
            return text_features(self.tower, prompt)
        if self.asked is not None:
            self.asked.append(self.own.text(prompt))
            return self.asked[-1]
        self.at += 1
        return self.known[self.at - 1]

    def image(self, pixels: Tensor, prompt: ImagePrompt | None = None) -> Tensor:
        return (
            self.backbone.image(pixels)
            if prompt is None
            else image_features(self.backbone.vit, prompt, pixels)
        )

    def record(self, method: Method, batch: Batch) -> None:
        """Learns what the method asks for; it must have been called once before, so that it keeps what it keeps."""
        self.asked = []
        method(batch)
        self.known, self.asked = self.asked, None


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
