"""The obvious way to evaluate prompts: 77 tokens, every block in full, nothing shared or kept.

This is the definition that `prompts/interpreters/fast.py` must equal, written as the published code writes
it. Source: CLIP (Radford et al., 2021) with the prompt placement of CoOp, VPT and MaPLe.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.towers.transformer import Block, normalise
from vlprompt.prompts.tokens import ImagePrompt, TextPrompt


def plain_block(block: Block, x: Tensor, mask: Tensor | None) -> Tensor:
    """One block over whole sequences, [B, T, D] -> [B, T, D]."""
    q, k, v = (block.split_heads(p) for p in block.qkv(block.ln_1(x).to(block.qkv.weight.dtype)).chunk(3, -1))
    mask = None if mask is None else mask.to(q.dtype)
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    x = x + block.out(attended.transpose(-3, -2).flatten(-2))
    hidden = block.fc(block.ln_2(x).to(block.fc.weight.dtype))
    hidden = F.gelu(hidden) if block.activation == "gelu" else hidden * torch.sigmoid(1.702 * hidden)
    return x + block.proj(hidden)


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
        tower = self.backbone.text
        length = tower.sizes.context_length
        x = torch.cat([prefix.expand(prompt.classes, -1, -1), prompt.suffix], dim=1)[:, :length]
        x = F.pad(x, (0, 0, 0, length - x.shape[1])) + tower.positional_embedding
        mask = torch.full((length, length), float("-inf"), device=x.device).triu(1)
        for i, block in enumerate(tower.blocks):
            if 1 <= i <= len(prompt.deep):
                deep = prompt.deep[i - 1].expand(len(x), -1, -1)
                x = torch.cat([x[:, :1], deep, x[:, 1 + deep.shape[1] :]], dim=1)
            x = plain_block(block, x, mask)
        x = tower.ln_final(x)
        end = torch.tensor(prompt.lengths, device=x.device) + len(prefix) - 1
        x = x[torch.arange(len(x), device=x.device), end]
        return normalise((x.to(tower.projection.dtype) @ tower.projection).float())

    def image(self, pixels: Tensor, prompt: ImagePrompt | None = None) -> Tensor:
        """Unit-length image features, [B, 3, H, W] -> [B, d]."""
        if prompt is None and not hasattr(self.backbone.image, "blocks"):
            return self.backbone.image(pixels)
        tower = self.backbone.vit
        x = tower.embed(pixels)
        if prompt is not None:
            x = torch.cat([x, prompt.tokens.expand(len(x), -1, -1)], dim=1)
        x = tower.ln_pre(x)
        for i, block in enumerate(tower.blocks):
            if prompt is not None and 1 <= i <= len(prompt.deep):
                deep = prompt.deep[i - 1].expand(len(x), -1, -1)
                x = torch.cat([x[:, : x.shape[1] - deep.shape[1]], deep], dim=1)
            x = plain_block(block, x, None)
        x = tower.ln_post(x[:, 0])
        return normalise((x.to(tower.projection.dtype) @ tower.projection).float())
