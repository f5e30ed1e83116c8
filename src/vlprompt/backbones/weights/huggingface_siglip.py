"""Hugging Face's `SiglipModel` to ours: SigLIP, and SigLIP 2 of a fixed picture size.

Text without a mask, padding included, read at the last of all positions; pictures without a class token, read by attention
pooling; scale and bias. Defaults of missing entries are those of transformers' `SiglipTextConfig` and
`SiglipVisionConfig`. Source: Zhai et al., ICCV 2023; Tschannen et al., 2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vlprompt.backbones.towers.text import TextForm, TextSizes
from vlprompt.backbones.towers.vit import ImageForm, ImageSizes, PoolForm
from vlprompt.backbones.weights.huggingface_clip import (
    activation_of,
    block_names,
    common_sizes,
    square_side,
    tower_config,
)
from vlprompt.backbones.weights.tower_weights import ClipWeights, Layout, TowerWeights, both, pooled_query

COMMON = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
TEXT_DEFAULTS = COMMON | {"vocab_size": 32000, "max_position_embeddings": 64, "pad_token_id": 1}
VISION_DEFAULTS = COMMON | {"image_size": 224, "patch_size": 16}


def from_siglip(state: Mapping[str, Any], config: Mapping[str, Any]) -> ClipWeights:
    """From a `SiglipModel` state dict and `config.json`."""
    layout = Layout(state)
    text = tower_config(config, "text_config", TEXT_DEFAULTS)
    vision = tower_config(config, "vision_config", VISION_DEFAULTS)
    weights = ClipWeights(
        text=_text(layout, text),
        image=_image(layout, vision),
        embed_dim=layout.shape("text_model.head.weight", 2)[0],
        logit_scale=layout.scale(),
        logit_bias=layout.bias(),
    )
    layout.finish()
    return weights


def _text(layout: Layout, config: Mapping[str, Any]) -> TowerWeights:
    sizes = TextSizes(
        **common_sizes(layout, config),
        context_length=int(config["max_position_embeddings"]),
        vocabulary=int(config["vocab_size"]),
    )
    names = {
        "token_embedding.weight": ("text_model.embeddings.token_embedding.weight",),
        "positional_embedding": ("text_model.embeddings.position_embedding.weight",),
        "projection": ("text_model.head.weight",),
        "projection_bias": ("text_model.head.bias",),
        **both("ln_final", "text_model.final_layer_norm"),
        **block_names("text_model", sizes),
    }
    pad = config.get("pad_token_id")
    form = TextForm(causal=False, start=0, read="last", padded=True, pad_id=int(pad or 0), bias=True)
    return TowerWeights(
        sizes,
        layout.take(names, transposed=("projection",)),
        activation_of(config, "text_config"),
        float(config["layer_norm_eps"]),
        form,
    )


def _image(layout: Layout, config: Mapping[str, Any]) -> TowerWeights:
    sizes = ImageSizes(
        **common_sizes(layout, config),
        resolution=square_side(config["image_size"]),
        patch=square_side(config["patch_size"]),
    )
    names = {
        **both("patch_embedding", "vision_model.embeddings.patch_embedding"),
        "positional_embedding": ("vision_model.embeddings.position_embedding.weight",),
        **both("ln_post", "vision_model.post_layernorm"),
        **both("pool.out", "vision_model.head.attention.out_proj"),
        **both("pool.ln", "vision_model.head.layernorm"),
        **both("pool.fc", "vision_model.head.mlp.fc1"),
        **both("pool.proj", "vision_model.head.mlp.fc2"),
        "probe": ("vision_model.head.probe",),
        "in.weight": ("vision_model.head.attention.in_proj_weight",),
        "in.bias": ("vision_model.head.attention.in_proj_bias",),
        **block_names("vision_model", sizes),
    }
    taken = layout.take(names)
    if "probe" in taken and "in.weight" in taken and "in.bias" in taken:
        taken |= _pool(taken.pop("probe"), taken.pop("in.weight"), taken.pop("in.bias"))
    pool = PoolForm(sizes.width, sizes.heads, mlp_width=sizes.mlp_width)
    form = ImageForm(
        class_token=False, patch_bias=True, norm_pre=False, read="attention", projection=False, pool=pool
    )
    return TowerWeights(
        sizes, taken, activation_of(config, "vision_config"), float(config["layer_norm_eps"]), form
    )


def _pool(probe: Tensor, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """The query behind its own layer, and the layer of keys and values."""
    width = probe.shape[-1]
    return {
        "pool.query": pooled_query(probe.flatten(), weight[:width], bias[:width]),
        "pool.keys_values.weight": weight[width:],
        "pool.keys_values.bias": bias[width:],
    }
