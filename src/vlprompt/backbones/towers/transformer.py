"""Transformer blocks that text and image towers share, and what they may differ in.

Precision: matrix products run in the dtype of the weights, the residual stream and the layer
norms stay in float32, so half-precision towers take float32 prompts and give float32 features.
Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021, and the layer names of its released weights; post-norm blocks as in BERT (Devlin et al., 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.errors import BackboneError


@dataclass(frozen=True)
class TransformerSizes:
    """width: of the residual stream. mlp_width: of the hidden layer in each block."""

    width: int
    layers: int
    heads: int
    mlp_width: int


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


# By the names that files use for them. "gelu" is the exact one, its tanh form is another function.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


def known_activation(name: str) -> str:
    """The name itself. Raises BackboneError for a function that there is not."""
    if name not in ACTIVATIONS:
        raise BackboneError(f'activation "{name}" is not supported: {", ".join(ACTIVATIONS)}')
    return name


def wide(x: Tensor) -> Tensor:
    """The same in float32, or in float64 where it is so already: what norms, sums and features are computed in."""
    return x if x.dtype == torch.float64 else x.float()


class LayerNorm(nn.LayerNorm):
    """Layer norm in float32 whatever the precision of the tower."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(wide(x), self.normalized_shape, self.weight, self.bias, self.eps)


class Side(nn.Linear):
    """A linear layer of which some outputs can be had alone (queries, or keys and values)."""

    def rows(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Outputs start..stop: [..., width] -> [..., stop - start]."""
        return F.linear(x, self.weight[start:stop], self.bias[start:stop])


class Block(nn.Module):
    """Attention, then a two-layer network, each added to its input.

    post_norm: the sums are normed (BERT), not the inputs (CLIP).
    """

    def __init__(
        self, sizes: TransformerSizes, activation: str, eps: float = 1e-5, post_norm: bool = False
    ) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads
        self.activation = known_activation(activation)
        self.post_norm = post_norm
        self.ln_1 = LayerNorm(width, eps=eps)
        self.qkv = Side(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ln_2 = LayerNorm(width, eps=eps)
        self.fc = nn.Linear(width, sizes.mlp_width)
        self.proj = nn.Linear(sizes.mlp_width, width)

    def _attended(self, x: Tensor) -> Tensor:
        """What attention sees of the residual stream."""
        return (x if self.post_norm else self.ln_1(x)).to(self.qkv.weight.dtype)

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values side by side: [..., width] -> [..., 3 width]."""
        return self.qkv(self._attended(x))

    def queries(self, x: Tensor) -> Tensor:
        return self.qkv.rows(self._attended(x), 0, x.shape[-1])

    def keys_values(self, x: Tensor) -> Tensor:
        return self.qkv.rows(self._attended(x), x.shape[-1], 3 * x.shape[-1])

    def split_heads(self, x: Tensor) -> Tensor:
        """[..., L, width] -> [..., heads, L, width / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def alone(self, x: Tensor) -> Tensor:
        """The block's output if every position attended to itself alone: [..., width] -> [..., width]."""
        return self.finish(x, self.qkv.rows(self._attended(x), 2 * x.shape[-1], 3 * x.shape[-1]))

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The block's output from its input and what attention gave, [..., width] each."""
        x = added(self.out(attended), x)
        del attended  # the network needs its room
        if self.post_norm:
            x = self.ln_1(x)
            return self.ln_2(added(self.network(x), x))
        return added(self.network(self.ln_2(x)), x)

    def network(self, x: Tensor) -> Tensor:
        """The two-layer network, [..., width] -> [..., width]."""
        hidden = self.fc(x.to(self.fc.weight.dtype))
        if self.activation != "quick_gelu":
            return self.proj(ACTIVATIONS[self.activation](hidden))
        # x sigmoid(1.702 x) = silu(1.702 x) / 1.702: one fused kernel that saves one tensor for
        # the backward pass where the literal form saves three.
        hidden = F.silu(hidden.mul_(1.702))
        return F.linear(hidden, self.proj.weight).mul_(1 / 1.702).add_(self.proj.bias)

    def forward(self, x: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
        """x: [B, L, width] -> [B, L, width].

        causal: position i sees positions <= i only. mask: added to the scores, [.., L, L] (or what broadcasts to it).
        """
        q, k, v = (self.split_heads(part) for part in self.project(x).chunk(3, dim=-1))
        mask = None if mask is None else mask.to(q.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.finish(x, attended.transpose(-3, -2).flatten(-2))

    def read(self, x: Tensor, at: Tensor, mask: Tensor | None = None) -> Tensor:
        """The block's output at some positions alone.

        x: [B, L, width], whose positions `at`, [B, Q, width], ask. mask: added to the scores, [.., Q, L].
        """
        k, v = (self.split_heads(part) for part in self.keys_values(x).chunk(2, dim=-1))
        q = self.split_heads(self.queries(at))
        mask = None if mask is None else mask.to(q.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.finish(at, attended.transpose(-3, -2).flatten(-2))


def block_list(
    sizes: TransformerSizes, activation: str, eps: float, post_norm: bool = False
) -> Sequence[Block]:
    """The blocks of a tower as a registered module list that type checkers see as blocks."""
    blocks = nn.ModuleList(Block(sizes, activation, eps, post_norm) for _ in range(sizes.layers))
    return cast("Sequence[Block]", blocks)


def added(own: Tensor, x: Tensor) -> Tensor:
    """The sum of a layer's output, which nobody else holds, and its input; in the same memory where the precision allows."""
    return own.add_(x) if own.dtype == x.dtype else x + own


def hide(seen: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """What is added to attention's scores: 0 where seen, -inf elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, float("-inf"))


def normalise(x: Tensor) -> Tensor:
    """x divided by its l2 norm along the last dimension."""
    return x / x.norm(dim=-1, keepdim=True)
