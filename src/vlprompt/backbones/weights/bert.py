"""BERT's layout (also RoBERTa's and XLM-R's) to our text tower: post-norm blocks, positions that may begin late.

Token types: every token has type 0, so its embedding is added into the positions. RoBERTa and XLM-R number positions
from padding_idx + 1 on: the rows before are left out.
Source: Devlin et al., NAACL 2019; Conneau et al., ACL 2020; names of Hugging Face's `BertModel`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from torch import Tensor

from vlprompt.backbones.towers.text import TextForm, TextSizes
from vlprompt.backbones.weights.tower_weights import Layout, Names, TowerWeights, both

FORM = TextForm(causal=False, post_norm=True, norm_first=True, norm_last=False)


def from_bert(
    layout: Layout,
    prefix: str,
    *,
    heads: int,
    activation: str,
    eps: float,
    form: TextForm,
    offset: int = 0,
    context_length: int | None = None,
) -> TowerWeights:
    """Embeddings and blocks; the projection is the caller's.

    prefix: what stands before `embeddings.` and `encoder.`. offset: positions that no token has.
    """
    vocabulary, width = layout.shape(f"{prefix}embeddings.word_embeddings.weight", 2)
    places = layout.shape(f"{prefix}embeddings.position_embeddings.weight", 2)[0] - offset
    sizes = TextSizes(
        width=width,
        layers=layout.count(rf"{re.escape(prefix)}encoder\.layer\.(\d+)\."),
        heads=heads,
        mlp_width=layout.shape(f"{prefix}encoder.layer.0.intermediate.dense.weight", 2)[0],
        context_length=min(places, context_length or places),
        vocabulary=vocabulary,
    )
    taken = layout.take(bert_names(prefix, sizes.layers))
    types = taken.pop("types")
    positions = taken["positional_embedding"][offset:] + types[0]
    taken["positional_embedding"] = positions[: sizes.context_length].contiguous()
    return TowerWeights(sizes, taken, activation, eps, form)


def bert_names(prefix: str, layers: int) -> Names:
    names: Names = {
        "token_embedding.weight": (f"{prefix}embeddings.word_embeddings.weight",),
        "positional_embedding": (f"{prefix}embeddings.position_embeddings.weight",),
        "types": (f"{prefix}embeddings.token_type_embeddings.weight",),
        **both("ln_embedding", f"{prefix}embeddings.LayerNorm"),
    }
    for i in range(layers):
        ours, theirs = f"blocks.{i}", f"{prefix}encoder.layer.{i}"
        names |= both(
            f"{ours}.qkv", *(f"{theirs}.attention.self.{part}" for part in ("query", "key", "value"))
        )
        names |= both(f"{ours}.out", f"{theirs}.attention.output.dense")
        names |= both(f"{ours}.ln_1", f"{theirs}.attention.output.LayerNorm")
        names |= both(f"{ours}.fc", f"{theirs}.intermediate.dense")
        names |= both(f"{ours}.proj", f"{theirs}.output.dense")
        names |= both(f"{ours}.ln_2", f"{theirs}.output.LayerNorm")
    return names


def with_projection(weights: TowerWeights, projection: Tensor) -> TowerWeights:
    """projection: [width, embed_dim]."""
    return replace(weights, tensors=weights.tensors | {"projection": projection})
