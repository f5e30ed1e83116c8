"""Text towers: token embeddings, blocks, a read-out; what kind of tower one is stands in its `TextForm`.

The towers hold weights and offer the pieces (embedding, blocks, read-out), and know no method. What tokens go in is
decided outside: `prompts/interpreters/plain.py` and `prompts/interpreters/fast.py` interpret prompts on these pieces.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.towers.transformer import Block, LayerNorm, TransformerSizes, block_list, hide, wide

Enter = Callable[[int, Tensor], Tensor]  # (block, tokens [B, L, width]) -> tokens, perhaps more of them


@dataclass(frozen=True)
class TextSizes(TransformerSizes):
    """context_length: most tokens of a text. vocabulary: number of token ids."""

    context_length: int
    vocabulary: int


@dataclass(frozen=True)
class TextForm:
    """What kind of text tower it is; as it stands, CLIP's.

    causal: a token sees itself and those before it only.
    start: tokens before the place of learned ones: 1 for a start token, 0 for none.
    read: where the feature is read: at the text's "end" token, its "first", the "last" of all positions, the "mean" of
        the text's tokens, or at a learned "class" token behind everything (CoCa), which has the last position.
    padded: rows are filled with token `pad_id` up to the context length, and the filling is attended to (SigLIP).
    class_sees: what the class token sees beside the text: "next", the place behind the text, as CoCa's published weights
        were trained, or "itself".
    post_norm: norms stand behind the sums (BERT). norm_first: embeddings are normed. norm_last: so is what is read.
    head: steps before the projection: "unit" (to unit length), "linear" (with bias), "gelu", "exp"; always in float32.
    bias: the projection adds one. exact: it stays in float32, as it does behind a head.
    """

    causal: bool = True
    start: int = 1
    read: Literal["end", "first", "last", "mean", "class"] = "end"
    padded: bool = False
    pad_id: int = 0
    class_sees: Literal["next", "itself"] = "next"
    post_norm: bool = False
    norm_first: bool = False
    norm_last: bool = True
    head: tuple[str, ...] = ()
    bias: bool = False
    exact: bool = False

    @property
    def shares_prefix(self) -> bool:
        """Whether what a text begins with can be computed once for all texts that begin so, and rows end at their end."""
        return self.causal and not self.padded and self.read == "end"

    @property
    def packs(self) -> bool:
        """Whether rows can be computed side by side without padding, each seeing the whole of itself."""
        return not self.causal and not self.padded and self.read in ("end", "first", "mean")


class Unit(nn.Module):
    """To unit length."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(wide(x), dim=-1)


class Exp(nn.Module):
    """The exponential of each number."""

    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


def head_of(steps: Sequence[str], width: int, inner: int) -> tuple[nn.Sequential, int]:
    """The steps as modules, and how wide what they give is; `inner`: of the hidden layer."""
    layers: list[nn.Module] = []
    for step in steps:
        if step == "linear":
            layers.append(nn.Linear(width, inner))
            width = inner
        else:
            layers.append({"unit": Unit, "gelu": nn.GELU, "exp": Exp}[step]())
    return nn.Sequential(*layers), width


class TextTower(nn.Module):
    """Token embeddings, blocks, read-out. head_width: of a "linear" step of its head.

    whole: the last block is computed at all positions, not only where the feature is read.
    """

    blocks: Sequence[Block]
    whole: bool = False

    def __init__(
        self,
        sizes: TextSizes,
        embed_dim: int,
        activation: str,
        eps: float = 1e-5,
        form: TextForm = TextForm(),
        head_width: int = 0,
    ) -> None:
        super().__init__()
        self.sizes, self.form = sizes, form
        self._padding: Tensor | None = None
        # the weight is always loaded: no time for initial values
        self.token_embedding = nn.Embedding(
            sizes.vocabulary, sizes.width, _weight=torch.empty(sizes.vocabulary, sizes.width)
        )
        places = sizes.context_length + (form.read == "class")
        self.positional_embedding = nn.Parameter(torch.zeros(places, sizes.width))
        self.ln_embedding = LayerNorm(sizes.width, eps=eps) if form.norm_first else nn.Identity()
        if form.read == "class":
            self.class_embedding = nn.Parameter(torch.zeros(sizes.width))
        self.blocks = block_list(sizes, activation, eps, form.post_norm)
        self.ln_final = LayerNorm(sizes.width, eps=eps) if form.norm_last else nn.Identity()
        self.exact = ("head", "projection") if form.head or form.exact else ()
        self.head, width = head_of(form.head, sizes.width, head_width)
        self.projection = nn.Parameter(torch.zeros(width, embed_dim))
        self.projection_bias = nn.Parameter(torch.zeros(embed_dim)) if form.bias else None

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrix products of its blocks."""
        return self.blocks[0].qkv.weight.dtype

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings without positions, float32: [..., L] -> [..., L, width]."""
        return wide(self.token_embedding(ids))

    def place(self, x: Tensor, first: int = 0) -> Tensor:
        """Tokens as the first block takes them: [..., L, width], the first of them at position `first`."""
        return self.ln_embedding(x + self.positional_embedding[first : first + x.shape[-2]])

    def padding(self) -> Tensor:
        """The vector that rows are filled with, [width]."""
        if self._padding is not None:
            return self._padding
        return self.embed(torch.tensor(self.form.pad_id, device=self.positional_embedding.device))

    def without_vocabulary(self) -> TextTower:
        """The same tower (the very weights) without its table of token embeddings, its largest part by far."""
        light = copy.copy(self)
        light.__dict__["_modules"] = {n: m for n, m in self._modules.items() if n != "token_embedding"}
        light._padding = self.padding().detach()
        return light

    def forward(self, ids: Tensor, ends: Tensor, unit: bool = True) -> Tensor:
        """Text features: token ids [N, L], and where the last token of each stands, [N] -> [N, embed_dim].

        unit: of unit length, or as the projection gives them.
        """
        return self.encode(self.embed(ids), ends + 1, unit=unit)

    def encode(self, x: Tensor, counts: Tensor, enter: Enter | None = None, unit: bool = True) -> Tensor:
        """Unit-length features (if so wanted), [N, embed_dim], of rows of tokens [N, L, width] without positions.

        counts: tokens of each row, [N]; what lies behind has no influence. enter: changes the tokens before a block; if
        it adds some, it does so near the beginning of the rows. L may be symbolic in an exported program, N too.
        """
        form = self.form
        if form.padded:
            x = self._filled(x, counts)
        elif form.read == "class":
            x = self._with_class_token(x, counts)
        else:
            x = self.place(x)
        last, before = len(self.blocks) - 1, x.shape[1]
        for i, block in enumerate(self.blocks):
            x = x if enter is None else enter(i, x)
            grown = x.shape[1] - before
            if i < last or form.read == "mean" or self.whole:
                mask = self._mask(x, counts + grown, None)
                x = block(x, causal=form.causal and mask is None, mask=mask)
        if form.read == "mean":
            real = self._real(x, counts + grown)[..., None]
            return self.read_out((x * real).sum(dim=1) / real.sum(dim=1), unit)
        at = self.reads_at(counts + grown, x.shape[1])
        rows = torch.arange(x.shape[0], device=x.device)
        if self.whole:
            return self.read_out(x[rows, at], unit)
        read = block.read(x, x[rows, at][:, None], self._mask(x, counts + grown, at))
        return self.read_out(read[:, 0], unit)

    def reads_at(self, counts: Tensor, length: int) -> Tensor:
        """The position in each row where the feature is read, [N]; not for a mean."""
        if self.form.read == "first":
            return torch.zeros_like(counts)
        return counts - 1 if self.form.read == "end" else torch.full_like(counts, length - 1)

    def _real(self, x: Tensor, counts: Tensor) -> Tensor:
        """[N, L]: which places hold tokens of the row."""
        return torch.arange(x.shape[1], device=x.device) < counts[:, None]

    def _filled(self, x: Tensor, counts: Tensor) -> Tensor:
        """Rows of the whole context length, the padding behind each row's tokens."""
        length = self.sizes.context_length
        x = F.pad(x[:, :length], (0, 0, 0, length - min(x.shape[1], length)))
        return self.place(torch.where(self._real(x, counts)[..., None], x, self.padding()))

    def _with_class_token(self, x: Tensor, counts: Tensor) -> Tensor:
        """Rows, a padding token behind each, and the class token at the end of all."""
        length = self.sizes.context_length
        if x.shape[1] < length:
            x = F.pad(x, (0, 0, 0, 1))
        x = self.place(torch.where(self._real(x, counts)[..., None], x, self.padding()))
        token = self.ln_embedding(wide(self.class_embedding) + self.positional_embedding[-1])
        return torch.cat([x, token.expand(x.shape[0], 1, -1)], dim=1)

    def _mask(self, x: Tensor, counts: Tensor, at: Tensor | None) -> Tensor | None:
        """What is hidden of rows [N, L, width], for every position or for those at `at`, [N]; None: nothing but what
        causality hides."""
        form, length = self.form, x.shape[1]
        place = torch.arange(length, device=x.device)
        if form.read == "class":
            reach = counts[:, None] + (form.class_sees == "next")
            seen = (place < reach) | ((place == length - 1) if form.class_sees == "itself" else False)
        elif form.padded or form.causal:
            seen = torch.ones(1, length, dtype=torch.bool, device=x.device)
        else:
            seen = self._real(x, counts)
        if form.causal and at is not None:
            return hide((seen & (place <= at[:, None]))[:, None, None])
        if form.causal and form.read == "class":
            return hide((seen[:, None] & (place <= place[:, None]))[:, None])
        return None if form.padded or form.causal else hide(seen[:, None, None])

    def read_out(self, x: Tensor, unit: bool = True) -> Tensor:
        """Text features, of unit length if so wanted, from the states that are read: [..., width] -> [..., embed_dim]."""
        x = self.head(self.ln_final(x))
        x = wide(x.to(self.projection.dtype) @ self.projection)
        x = x if self.projection_bias is None else x + self.projection_bias
        return F.normalize(x, dim=-1) if unit else x
