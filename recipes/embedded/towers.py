"""CLIP's two transformers, with parameter names as in `transformers.CLIPModel`.

Written out here because training wants two things that the library's class lacks: an image tower
that drops patches (FLIP, Li et al., CVPR 2023), and one matrix product for query, key and value.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Sizes:
    """Sizes of both towers: 7.6 million parameters, with eight image blocks 11.6 million."""

    width: int = 256
    heads: int = 4
    image_blocks: int = 3
    text_blocks: int = 4
    image_size: int = 64
    patch_size: int = 8
    vocabulary: int = 7168
    text_length: int = 77
    embed_dim: int = 384  # the text teacher's


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def _attention(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """Attention in plain products; q, k, v: [B, heads, N, D].

    On a CPU, the backward pass of torch's fused one takes 5 to 9 times as long on 17 to 65 tokens.
    """
    b, h, n, d = q.shape
    q, k, v = (x.reshape(b * h, n, d) for x in (q * d**-0.5, k, v))
    scores = torch.bmm(q, k.transpose(1, 2))
    if is_causal:
        scores = scores + torch.full((n, n), -torch.inf, device=q.device, dtype=scores.dtype).triu(1)
    return torch.bmm(scores.softmax(-1).to(v.dtype), v).view(b, h, n, d)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        b, n, w = x.shape
        parts = (self.q_proj, self.k_proj, self.v_proj)
        x = F.linear(x, torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]))
        q, k, v = x.view(b, n, 3, self.heads, w // self.heads).permute(
            2, 0, 3, 1, 4
        )  # [B, heads, N, W / heads]
        x = (F.scaled_dot_product_attention if x.is_cuda else _attention)(q, k, v, is_causal=causal)
        return self.out_proj(x.transpose(1, 2).reshape(b, n, w))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.layer_norm1, self.self_attn = nn.LayerNorm(width), Attention(width, heads)
        self.layer_norm2, self.mlp = nn.LayerNorm(width), Mlp(width)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), causal)
        return x + self.mlp(self.layer_norm2(x))


def _initialise(blocks: nn.ModuleList, width: int) -> None:
    """CLIP's initial values: what joins the residual stream is scaled down by the depth."""
    for block in blocks:
        attention, mlp = block.self_attn, block.mlp
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.fc1):
            nn.init.normal_(linear.weight, std=width**-0.5)
        for linear in (attention.out_proj, mlp.fc2):
            nn.init.normal_(linear.weight, std=width**-0.5 * (2 * len(blocks)) ** -0.5)
        for linear in (
            attention.q_proj,
            attention.k_proj,
            attention.v_proj,
            attention.out_proj,
            mlp.fc1,
            mlp.fc2,
        ):
            nn.init.zeros_(linear.bias)


@torch.no_grad()
def _mimic_trained(attention: Attention, width: int) -> None:
    """Begin where trained attention ends up: tokens look at their like, values are taken away.

    Source: Mimetic Initialization of Self-Attention Layers (Trockman and Kolter, ICML 2023).
    """

    def factors(noise: float, diagonal: float) -> tuple[Tensor, Tensor]:
        matrix = noise * torch.randn(width, width) * width**-0.5 + diagonal * torch.eye(width)
        u, s, v = torch.linalg.svd(matrix)
        return (u * s.sqrt()).T, (v.T * s.sqrt()).T  # rows: directions, strongest first

    size = width // attention.heads
    for head in range(attention.heads):
        q, k = factors(0.7, 0.7)
        rows = slice(head * size, (head + 1) * size)
        attention.q_proj.weight[rows], attention.k_proj.weight[rows] = q[:size], k[:size]
    value, out = factors(0.4, -0.4)
    attention.v_proj.weight.copy_(value)
    attention.out_proj.weight.copy_(out.T)


def _waves(side: int, width: int) -> Tensor:
    """Sine and cosine position values of a square of patches, [side * side, width], within -1..1."""
    frequency = 100.0 ** -torch.linspace(0, 1, width // 4)
    angle = torch.arange(side)[:, None] * frequency  # [side, width / 4]
    one = torch.cat([angle.sin(), angle.cos()], 1)  # [side, width / 2]
    return torch.cat([one.repeat_interleave(side, 0), one.repeat(side, 1)], 1)


class ImageTower(nn.Module):
    """Pictures [B, 3, S, S] -> the class token [B, width] after the last norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        w, p = sizes.width, sizes.patch_size
        self.patch = p
        self.patch_embedding = nn.Linear(3 * p * p, w, bias=False)  # exported as a convolution
        self.class_embedding = nn.Parameter(torch.randn(w) * w**-0.5)
        waves = _waves(sizes.image_size // p, w)
        self.position_embedding = nn.Parameter(0.5 * torch.cat([torch.zeros(1, w), waves]))
        self.pre_layrnorm, self.post_layernorm = nn.LayerNorm(w), nn.LayerNorm(w)
        self.layers = nn.ModuleList(Block(w, sizes.heads) for _ in range(sizes.image_blocks))
        self.projection = nn.Linear(w, sizes.embed_dim, bias=False)
        _initialise(self.layers, w)
        for block in self.layers:
            _mimic_trained(block.self_attn, w)
        nn.init.normal_(self.projection.weight, std=w**-0.5)

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Begin with a patch embedding that whitens the patches of `images` [N, 3, S, S], turned at random."""
        x = self.patches(images).flatten(0, 1)  # [N * P, 3 * p * p]
        values, axes = torch.linalg.eigh(x.T @ x / len(x))
        turn = torch.linalg.qr(torch.randn(self.patch_embedding.out_features, len(values), device=x.device)).Q
        self.patch_embedding.weight.copy_(turn @ (axes / (values + 0.05).sqrt()).T)

    def patches(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, P, 3 * p * p], row by row."""
        b, c, s, _ = images.shape
        x = images.view(b, c, s // self.patch, self.patch, s // self.patch, self.patch)
        return x.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * self.patch**2)

    def forward(self, images: Tensor, keep: int | None = None) -> Tensor:
        """`keep`: how many patches, drawn at random for each picture, are looked at (None: all)."""
        x, b = self.patches(images), len(images)
        positions = self.position_embedding[1:].expand(b, -1, -1)
        if keep is not None and keep < x.shape[1]:
            chosen = torch.rand(b, x.shape[1], device=x.device).topk(keep, dim=1).indices[..., None]
            x = x.gather(1, chosen.expand(-1, -1, x.shape[-1]))
            positions = positions.gather(1, chosen.expand(-1, -1, positions.shape[-1]))
        x = self.patch_embedding(x) + positions
        first = (self.class_embedding + self.position_embedding[0]).expand(b, 1, -1)
        x = self.pre_layrnorm(torch.cat([first.to(x.dtype), x], 1))
        for block in self.layers:
            x = block(x)
        return self.post_layernorm(x[:, 0])


class TextTower(nn.Module):
    """Token ids [B, L] -> features [B, embed_dim], read at the first end-of-text token."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        w = sizes.width
        self.end = sizes.vocabulary - 1
        self.token_embedding = nn.Embedding(sizes.vocabulary, w)
        self.position_embedding = nn.Parameter(torch.randn(sizes.text_length, w) * 0.01)
        self.layers = nn.ModuleList(Block(w, sizes.heads) for _ in range(sizes.text_blocks))
        self.final_layer_norm = nn.LayerNorm(w)
        self.projection = nn.Linear(w, sizes.embed_dim, bias=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        _initialise(self.layers, w)
        nn.init.normal_(self.projection.weight, std=w**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids) + self.position_embedding[: ids.shape[1]]
        for block in self.layers:
            x = block(x, causal=True)
        ends = (ids == self.end).int().argmax(1)
        return self.projection(self.final_layer_norm(x[torch.arange(len(x), device=x.device), ends]))
