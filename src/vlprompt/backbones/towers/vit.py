"""Vision transformers: patches, blocks without a mask, a read-out; what kind one is stands in its `ImageForm`.

`Vision` is what all image towers share that take visual prompts; `ImageTower` is the plain one, whose tokens are
patches of pixels.
Source: Dosovitskiy et al. 2021; CLIP (Radford et al., 2021); SigLIP (Zhai et al., 2023) for attention pooling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.towers.transformer import (
    ACTIVATIONS,
    Block,
    LayerNorm,
    TransformerSizes,
    block_list,
    known_activation,
    wide,
)

Enter = Callable[[int, Tensor], Tensor]  # (block, tokens [B, L, width]) -> tokens, perhaps more of them


@dataclass(frozen=True)
class ImageSizes(TransformerSizes):
    """resolution: pixels of the square picture. patch: pixels of a patch's side."""

    resolution: int
    patch: int

    @property
    def patches(self) -> int:
        return (self.resolution // self.patch) ** 2


@dataclass(frozen=True)
class PoolForm:
    """Attention pooling: one learned query looks at all tokens of the picture.

    width, heads: of the attention. norm_keys: tokens are normed first (CoCa). mlp_width: of a two-layer network behind
    it, normed and added (SigLIP); 0: none.
    """

    width: int
    heads: int
    norm_keys: bool = False
    mlp_width: int = 0


@dataclass(frozen=True)
class ImageForm:
    """What kind of vision transformer it is; as it stands, CLIP's.

    class_token: whether one stands before the patches. patch_bias: of the patch embedding. norm_pre: tokens are normed
    before the first block. post_norm: norms stand behind the sums of a block.
    read: where the feature is read: at the class token ("first"), as the mean of the patches, or by attention pooling
        over class token and patches. Visual prompts are never read.
    norm_post: whether the last norm comes before or after that, if there is one. projection: whether a matrix follows; bias: with one.
    """

    class_token: bool = True
    patch_bias: bool = False
    norm_pre: bool = True
    post_norm: bool = False
    read: Literal["first", "mean", "attention"] = "first"
    norm_post: Literal["before", "after", "none"] = "before"
    projection: bool = True
    bias: bool = False
    pool: PoolForm | None = None


class AttentionPooling(nn.Module):
    """[..., N, width] -> [..., pool width]. The query is stored behind its own layer, as it is the same for all pictures."""

    def __init__(self, width: int, form: PoolForm, activation: str, eps: float) -> None:
        super().__init__()
        self.heads, self.activation = form.heads, known_activation(activation)
        self.query = nn.Parameter(torch.zeros(form.width))
        self.ln_keys = LayerNorm(width, eps=eps) if form.norm_keys else nn.Identity()
        self.keys_values = nn.Linear(width, 2 * form.width)
        self.out = nn.Linear(form.width, form.width)
        self.ln = self.fc = self.proj = None
        if form.mlp_width:
            self.ln = LayerNorm(form.width, eps=eps)
            self.fc = nn.Linear(form.width, form.mlp_width)
            self.proj = nn.Linear(form.mlp_width, form.width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.keys_values(self.ln_keys(x).to(self.keys_values.weight.dtype)).chunk(2, dim=-1)
        k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in parts)
        q = self.query.to(k.dtype).view(self.heads, 1, -1).expand(*k.shape[:-2], 1, -1)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)[..., 0, :]
        x = wide(self.out(attended))
        if self.ln is None or self.fc is None or self.proj is None:
            return x
        hidden = ACTIVATIONS[self.activation](self.fc(self.ln(x).to(self.fc.weight.dtype)))
        return x + self.proj(hidden)


class Vision(nn.Module):
    """Blocks over tokens of pictures, and their read-out. A subclass gives `embed`, and `sizes.patches`.

    takes_prompts, gives_patches: whether visual prompts can enter, and patch tokens be had. has_stem: whether it has a
    module `stem` for what is computed of pixels before anything can enter: pixels -> what `embed` takes in their stead.
    """

    takes_prompts: ClassVar[bool] = True
    gives_patches: ClassVar[bool] = True
    kind: ClassVar[str] = "ViT"
    has_stem: ClassVar[bool] = False
    blocks: Sequence[Block]

    def __init__(
        self,
        sizes: TransformerSizes,
        patches: int,
        embed_dim: int,
        activation: str,
        eps: float = 1e-5,
        form: ImageForm = ImageForm(),
    ) -> None:
        super().__init__()
        self.patches, self.form = patches, form
        self.ln_pre = LayerNorm(sizes.width, eps=eps) if form.norm_pre else nn.Identity()
        self.blocks = block_list(sizes, activation, eps, form.post_norm)
        self.pool = None
        width = sizes.width
        if form.pool is not None:
            self.pool = AttentionPooling(width, form.pool, activation, eps)
            width = form.pool.width
        self.ln_post: nn.Module = nn.Identity()
        if form.norm_post != "none":
            self.ln_post = LayerNorm(width if form.norm_post == "after" else sizes.width, eps=eps)
        self.projection = nn.Parameter(torch.zeros(width, embed_dim)) if form.projection else None
        self.projection_bias = nn.Parameter(torch.zeros(embed_dim)) if form.bias else None
        self.embed_dim = embed_dim

    @property
    def start(self) -> int:
        """Tokens before the patches."""
        return int(self.form.class_token)

    def embed(self, pixels: Tensor) -> Tensor:
        """Class token (if there is one) and patches, before `ln_pre`: [B, 3, H, W] -> [B, start + patches, width]."""
        raise NotImplementedError

    def tokens(self, pixels: Tensor) -> Tensor:
        """What the first block takes: [B, 3, H, W] -> [B, start + patches, width]."""
        return self.ln_pre(self.embed(pixels))

    def forward(self, pixels: Tensor) -> Tensor:
        """Unit-length image features without prompts: [B, 3, H, W] -> [B, embed_dim]."""
        return self.encode(self.tokens(pixels))[0]

    def encode(self, x: Tensor, enter: Enter | None = None, inserted: int = 0) -> tuple[Tensor, Tensor]:
        """Unit-length features [B, embed_dim] of tokens [B, L, width], and the last states of inserted ones.

        enter: changes the tokens before a block. inserted: tokens that by the end stand behind the class token, whose
        normed states [B, inserted, width] are given; tokens behind the patches are looked at and never read.
        """
        head = self.start + inserted
        for i, block in enumerate(self.blocks):
            x = x if enter is None else enter(i, x)
            if i < len(self.blocks) - 1:
                x = block(x)
        wanted = head + (0 if self.form.read == "first" else self.patches)
        x = block.read(x, x[:, :wanted])
        own = x if not inserted else torch.cat([x[:, : self.start], x[:, head:]], dim=1)
        return self.pooled(own), self.normed(x[:, self.start : head])

    def pooled(self, x: Tensor) -> Tensor:
        """The feature from the last states of class token and patches; of the class token alone where only it is read."""
        form = self.form
        if form.norm_post == "before":
            x = self.ln_post(x)
        if form.read == "first":
            x = x[:, 0]
        elif form.read == "mean":
            x = x[:, self.start :].mean(dim=1)
        else:
            assert self.pool is not None
            x = self.pool(x)
        return self.project(self.ln_post(x) if form.norm_post == "after" else x)

    def project(self, x: Tensor, first: Tensor | None = None) -> Tensor:
        """Into the joint space, unit length: [..., width] -> [..., embed_dim]. first: a linear map of the states that comes
        before, [width, width]; the two are multiplied once in place of every state by both."""
        into: Tensor | None = self.projection
        if first is not None:
            into = first.t() if into is None else (first.t() @ wide(into)).to(into.dtype)
        if into is not None:
            x = wide(x.to(into.dtype) @ into)
        return F.normalize(x if self.projection_bias is None else x + self.projection_bias, dim=-1)

    def normed(self, x: Tensor) -> Tensor:
        """States behind the last norm, [..., width]; as they are where that norm belongs to what was pooled."""
        return x if self.form.norm_post == "after" and self.pool is not None else self.ln_post(x)

    def read_out(self, x: Tensor) -> Tensor:
        """Unit-length features of single states: [..., width] -> [..., embed_dim].

        Of a tower with attention pooling: what it would give if a state were all there is to look at.
        """
        if self.pool is None:
            return self.project(self.ln_post(x))
        if self.form.norm_post == "before":
            return self.project(self.pool(self.ln_post(x)[..., None, :]))
        return self.project(self.ln_post(self.pool(x[..., None, :])))

    def patch_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Image features [B, embed_dim] and projected unit-length patch tokens [B, patches, embed_dim]."""
        x = self.tokens(pixels)
        for block in self.blocks:
            x = block(x)
        return self.pooled(x), self.read_out(x[:, self.start :])

    def patch_states(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Image features [B, embed_dim], and normed last states of the patches [B, patches, width] whose last attention is
        to themselves alone, so that they say what stands at their place."""
        x = self.tokens(pixels)
        for block in self.blocks[:-1]:
            x = block(x)
        last, read = self.blocks[-1], self.start + (0 if self.form.read == "first" else self.patches)
        return self.pooled(last.read(x, x[:, :read])), self.normed(last.alone(x[:, self.start :]))


class ImageTower(Vision):
    """The plain vision transformer: patches of pixels and learned positions."""

    def __init__(
        self,
        sizes: ImageSizes,
        embed_dim: int,
        activation: str,
        eps: float = 1e-5,
        form: ImageForm = ImageForm(),
    ) -> None:
        super().__init__(sizes, sizes.patches, embed_dim, activation, eps, form)
        self.sizes = sizes
        self.patch_embedding = nn.Conv2d(3, sizes.width, sizes.patch, sizes.patch, bias=form.patch_bias)
        if form.class_token:
            self.class_embedding = nn.Parameter(torch.zeros(sizes.width))
        self.positional_embedding = nn.Parameter(torch.zeros(self.start + sizes.patches, sizes.width))

    def embed(self, pixels: Tensor) -> Tensor:
        patches = wide(self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype)))
        patches = patches.flatten(2).transpose(1, 2)
        if self.form.class_token:
            class_token = wide(self.class_embedding).expand(pixels.shape[0], 1, -1)
            patches = torch.cat([class_token, patches], dim=1)
        return patches + wide(self.positional_embedding)
