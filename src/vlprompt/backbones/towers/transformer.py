"""CLIP's two transformers as plain modules that know no method.

The towers hold weights and offer the pieces (embedding, blocks, read-out). What tokens go in
is decided outside: `prompts/interpreters/plain.py` and `prompts/interpreters/fast.py` interpret prompts on these pieces.

Precision: matrix products run in the dtype of the weights, the residual stream and the layer
norms stay in float32, so half-precision towers take float32 prompts and give float32 features.
Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021, and the layer names of its released weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class TransformerSizes:
    """width: of the residual stream. mlp_width: of the hidden layer in each block."""

    width: int
    layers: int
    heads: int
    mlp_width: int


@dataclass(frozen=True)
class TextSizes(TransformerSizes):
    """context_length: most tokens of a text. vocabulary: number of token ids."""

    context_length: int
    vocabulary: int


@dataclass(frozen=True)
class ImageSizes(TransformerSizes):
    """resolution: pixels of the square picture. patch: pixels of a patch's side."""

    resolution: int
    patch: int

    @property
    def patches(self) -> int:
        return (self.resolution // self.patch) ** 2


class LayerNorm(nn.LayerNorm):
    """Layer norm in float32 whatever the precision of the tower."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps)


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a two-layer network, each added to its input."""

    def __init__(self, sizes: TransformerSizes, activation: str, eps: float = 1e-5) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads
        self.activation = activation
        self.ln_1 = LayerNorm(width, eps=eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ln_2 = LayerNorm(width, eps=eps)
        self.fc = nn.Linear(width, sizes.mlp_width)
        self.proj = nn.Linear(sizes.mlp_width, width)

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values side by side: [..., width] -> [..., 3 width]."""
        return self.qkv(self.ln_1(x).to(self.qkv.weight.dtype))

    def queries(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        return F.linear(
            self.ln_1(x).to(self.qkv.weight.dtype), self.qkv.weight[:width], self.qkv.bias[:width]
        )

    def keys_values(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        return F.linear(
            self.ln_1(x).to(self.qkv.weight.dtype), self.qkv.weight[width:], self.qkv.bias[width:]
        )

    def split_heads(self, x: Tensor) -> Tensor:
        """[..., L, width] -> [..., heads, L, width / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def mlp(self, x: Tensor) -> Tensor:
        """The second half of the block, added to its input."""
        hidden = self.fc(self.ln_2(x).to(self.fc.weight.dtype))
        if self.activation == "gelu":
            return x + self.proj(F.gelu(hidden))
        # x sigmoid(1.702 x) = silu(1.702 x) / 1.702: one fused kernel that saves one tensor for
        # the backward pass where the literal form saves three.
        hidden = F.silu(hidden.mul_(1.702))
        return x + F.linear(hidden, self.proj.weight).mul_(1 / 1.702).add_(self.proj.bias)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """x: [B, L, width] -> [B, L, width]; causal: position i sees positions <= i only."""
        q, k, v = (self.split_heads(part) for part in self.project(x).chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + self.out(attended.transpose(-3, -2).flatten(-2))
        return self.mlp(x)

    def read(self, x: Tensor, position: int) -> Tensor:
        """The block's output at one position that sees all others: [B, L, width] -> [B, width]."""
        k, v = (self.split_heads(part) for part in self.keys_values(x).chunk(2, dim=-1))
        q = self.split_heads(self.queries(x[:, position : position + 1]))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)[:, 0]
        return self.mlp(x[:, position] + self.out(attended))


def block_list(sizes: TransformerSizes, activation: str, eps: float) -> Sequence[Block]:
    """The blocks of a tower as a registered module list that type checkers see as blocks."""
    blocks = nn.ModuleList(Block(sizes, activation, eps) for _ in range(sizes.layers))
    return cast("Sequence[Block]", blocks)


class TextTower(nn.Module):
    """Token embeddings, causal blocks, read-out at the end token."""

    blocks: Sequence[Block]

    def __init__(self, sizes: TextSizes, embed_dim: int, activation: str, eps: float = 1e-5) -> None:
        super().__init__()
        self.sizes = sizes
        # the weight is always loaded: no time for initial values
        self.token_embedding = nn.Embedding(
            sizes.vocabulary, sizes.width, _weight=torch.empty(sizes.vocabulary, sizes.width)
        )
        self.positional_embedding = nn.Parameter(torch.zeros(sizes.context_length, sizes.width))
        self.blocks = block_list(sizes, activation, eps)
        self.ln_final = LayerNorm(sizes.width, eps=eps)
        self.projection = nn.Parameter(torch.zeros(sizes.width, embed_dim))

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings without positions, float32: [..., L] -> [..., L, width]."""
        return self.token_embedding(ids).float()

    def forward(self, ids: Tensor, ends: Tensor) -> Tensor:
        """Unit-length text features: token ids [N, L], and where [EOT] stands in each, [N] -> [N, embed_dim]."""
        x = self.embed(ids) + self.positional_embedding[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, causal=True)
        return self.read_out(x[torch.arange(len(x), device=x.device), ends])

    def read_out(self, x: Tensor) -> Tensor:
        """Unit-length text features from the states at the end tokens: [..., width] -> [..., embed_dim]."""
        return F.normalize((self.ln_final(x).to(self.projection.dtype) @ self.projection).float(), dim=-1)


class ImageTower(nn.Module):
    """Vision transformer: patches, class token, blocks without a mask, read-out at the class token."""

    blocks: Sequence[Block]

    def __init__(self, sizes: ImageSizes, embed_dim: int, activation: str, eps: float = 1e-5) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embedding = nn.Conv2d(3, sizes.width, sizes.patch, sizes.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(sizes.width))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + sizes.patches, sizes.width))
        self.ln_pre = LayerNorm(sizes.width, eps=eps)
        self.blocks = block_list(sizes, activation, eps)
        self.ln_post = LayerNorm(sizes.width, eps=eps)
        self.projection = nn.Parameter(torch.zeros(sizes.width, embed_dim))

    def embed(self, pixels: Tensor) -> Tensor:
        """Class token and patches with positions, before `ln_pre`: [B, 3, H, W] -> [B, 1 + patches, width]."""
        patches = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype)).float()
        patches = patches.flatten(2).transpose(1, 2)
        class_token = self.class_embedding.float().expand(pixels.shape[0], 1, -1)
        return torch.cat([class_token, patches], dim=1) + self.positional_embedding.float()

    def read_out(self, x: Tensor) -> Tensor:
        """Unit-length image features from the class token (or patch) states: [..., width] -> [..., embed_dim]."""
        return F.normalize((self.ln_post(x).to(self.projection.dtype) @ self.projection).float(), dim=-1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Unit-length image features without prompts: [B, 3, H, W] -> [B, embed_dim]."""
        x = self.ln_pre(self.embed(pixels))
        for block in self.blocks[:-1]:
            x = block(x)
        return self.read_out(self.blocks[-1].read(x, 0))

    def patch_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Image features [B, embed_dim] and projected unit-length patch tokens [B, patches, embed_dim]."""
        x = self.ln_pre(self.embed(pixels))
        for block in self.blocks:
            x = block(x)
        features = self.read_out(x)
        return features[:, 0], features[:, 1:]


def normalise(x: Tensor) -> Tensor:
    """x divided by its l2 norm along the last dimension."""
    return x / x.norm(dim=-1, keepdim=True)
