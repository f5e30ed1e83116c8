"""The obvious way to evaluate prompts: whole rows, every block in full, nothing shared or kept.

This is the definition that `prompts/interpreters/fast.py` must equal, written as the published code writes it, for
every kind of tower. Source: CLIP (Radford et al., 2021) with the prompt placement of CoOp, VPT, MaPLe and MMRL.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.towers.changes import ChangedLayer, MatrixChange, changed, kept_of
from vlprompt.backbones.towers.text import TextTower
from vlprompt.backbones.towers.transformer import ACTIVATIONS, Block, hide, normalise, wide
from vlprompt.backbones.towers.vit import Vision
from vlprompt.prompts.tokens import BlockTokens, ImagePrompt, TextPrompt


class PlainlyChangedLayer(ChangedLayer):
    """Every change as products and a sum of their own, whose gradients nobody writes by hand."""

    def added(self, y: Tensor, x: Tensor, columns: list[slice], changes: list[MatrixChange]) -> Tensor:
        parts = list(y.split(self.width, dim=-1))
        for at, change in zip(columns, changes, strict=True):
            seen = wide(x) if change.kept is None else wide(x) * kept_of(x, change.kept) / change.share
            place = at.start // self.width
            parts[place] = parts[place] + F.linear(F.linear(seen, change.down), change.up).to(y.dtype)
        return torch.cat(parts, dim=-1)


def plain_block(block: Block, x: Tensor, mask: Tensor | None) -> Tensor:
    """One block over whole sequences, [B, T, D] -> [B, T, D]. mask: added to the scores, [.., T, T]."""
    seen = x if block.post_norm else block.ln_1(x)
    q, k, v = (block.split_heads(p) for p in block.qkv(seen.to(block.qkv.weight.dtype)).chunk(3, -1))
    mask = None if mask is None else mask.to(q.dtype)
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    x = x + block.out(attended.transpose(-3, -2).flatten(-2))
    if block.post_norm:
        x = block.ln_1(x)
    hidden = block.fc((x if block.post_norm else block.ln_2(x)).to(block.fc.weight.dtype))
    x = x + block.proj(ACTIVATIONS[block.activation](hidden))
    return block.ln_2(x) if block.post_norm else x


def plain_enter(x: Tensor, entering: Sequence[BlockTokens], i: int, start: int) -> Tensor:
    """Tokens [B, T, D] with the vectors that enter before block i, behind the first `start` tokens."""
    for one in entering:
        if one.block == i:
            new = one.values.repeat(len(x) // len(one.values), 1, 1) if one.own else one.values
            new = new.expand(len(x), -1, -1)
            n = new.shape[1]
            if one.insert:
                x = torch.cat([x[:, :start], new, x[:, start:]], dim=1)
            else:
                new = one.weight * new + (1 - one.weight) * x[:, start : start + n]
                x = torch.cat([x[:, :start], new, x[:, start + n :]], dim=1)
    return x


def what_is_hidden(tower: TextTower, counts: Tensor, length: int) -> Tensor:
    """Added to the scores of rows that hold `counts` tokens, [C]: [C, 1, length, length], -inf where a token does not
    see another."""
    form, place = tower.form, torch.arange(length, device=counts.device)
    seen = torch.ones(len(counts), length, length, dtype=torch.bool, device=counts.device)
    if form.causal:
        seen = seen & (place[None] <= place[:, None])
    if form.read == "class":  # nothing behind the text, save one place or the class token
        own = counts[:, None] if form.class_sees == "next" else torch.full_like(counts, length - 1)[:, None]
        seen = seen & ((place < counts[:, None]) | (place == own))[:, None]
    elif not form.causal and not form.padded:
        seen = seen & (place < counts[:, None])[:, None]
    return hide(seen)[:, None]


class Plain:
    """Interpreter of prompts that shares nothing, and goes through everything at once whatever it takes."""

    kept_as: str | None = None

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.budget = 1 << 62

    def text(self, prompt: TextPrompt) -> Tensor:
        """Unit-length text features of every class under every prefix, [G, C, d]; one prefix after another."""
        return torch.stack([self._text(prefix, prompt) for prefix in prompt.prefix])

    def _text(self, prefix: Tensor, prompt: TextPrompt) -> Tensor:
        tower = changed(self.backbone.text, prompt.changes, PlainlyChangedLayer)
        form, context = tower.form, tower.sizes.context_length
        counts = torch.tensor(prompt.lengths, device=prefix.device) + len(prefix)
        # a causal tower, or one that attends to padding, as published: over all its places
        length = context if form.causal or form.padded else int(counts.max())
        x = torch.cat([prefix.expand(prompt.classes, -1, -1), prompt.suffix], dim=1)[:, :length]
        x = F.pad(x, (0, 0, 0, length - x.shape[1]))
        if form.padded or form.read == "class":
            text = torch.arange(length, device=x.device) < counts[:, None]
            x = torch.where(text[..., None], x, tower.padding())
        if form.read == "class":
            x = torch.cat([x, tower.class_embedding.expand(len(x), 1, -1)], dim=1)
        x = x + tower.positional_embedding[: x.shape[1]]
        x = tower.ln_embedding(x)
        entering = prompt.entering()
        for i, block in enumerate(tower.blocks):
            before = x.shape[1]
            x = plain_enter(x, entering, i, prompt.start)
            counts = counts + (x.shape[1] - before)
            x = plain_block(block, x, what_is_hidden(tower, counts, x.shape[1]))
        rows = torch.arange(len(x), device=x.device)
        if form.read == "mean":
            x = torch.stack([row[:n].mean(dim=0) for row, n in zip(x, counts.tolist(), strict=True)])
        elif form.read == "first":
            x = x[:, 0]
        else:
            x = x[rows, counts - 1] if form.read == "end" else x[:, -1]
        x = tower.head(tower.ln_final(x))
        x = wide(x.to(tower.projection.dtype) @ tower.projection)
        return normalise(x if tower.projection_bias is None else x + tower.projection_bias)

    def image(self, pixels: Tensor, prompt: ImagePrompt | None = None) -> Tensor:
        """Unit-length image features, [B, 3, H, W] -> [B, d]."""
        if prompt is None and not self.backbone.takes_visual_prompts:
            return self.backbone.image(pixels)
        return self.image_and_inserted(pixels, prompt or ImagePrompt())[0]

    def image_and_inserted(self, pixels: Tensor, prompt: ImagePrompt) -> tuple[Tensor, Tensor]:
        """Image features [B, d], and the normed last states of the inserted tokens, [B, n, W]."""
        tower: Vision = changed(self.backbone.vit, prompt.changes, PlainlyChangedLayer)
        x = tower.embed(pixels)
        start, patches, appended = tower.start, x.shape[1] - tower.start, 0
        if prompt.tokens is not None:
            x = torch.cat([x, prompt.tokens.expand(len(x), -1, -1)], dim=1)
            appended = len(prompt.tokens)
        x = tower.ln_pre(x)
        for i, block in enumerate(tower.blocks):
            if 1 <= i <= len(prompt.deep):
                deep = prompt.deep[i - 1].expand(len(x), -1, -1)
                x = torch.cat([x[:, : x.shape[1] - deep.shape[1]], deep], dim=1)
            x = plain_enter(x, prompt.inner, i, start)
            x = plain_block(block, x, None)
        inserted = x.shape[1] - start - patches - appended
        own = torch.cat([x[:, :start], x[:, start + inserted : start + inserted + patches]], dim=1)
        return tower.pooled(own), tower.normed(x[:, start : start + inserted])
