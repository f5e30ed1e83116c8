"""Hugging Face's `ChineseCLIPModel` to ours: a BERT that is read at its first token, and CLIP's image tower.

Source: Yang et al., "Chinese CLIP", 2022; defaults of missing entries are those of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vlprompt.backbones.weights.bert import FORM, from_bert, with_projection
from vlprompt.backbones.weights.huggingface_clip import (
    VISION_DEFAULTS,
    activation_of,
    image_weights,
    tower_config,
)
from vlprompt.backbones.weights.tower_weights import ClipWeights, Layout

TEXT_DEFAULTS = {"num_attention_heads": 12, "hidden_act": "gelu", "layer_norm_eps": 1e-12}


def from_chinese_clip(state: Mapping[str, Any], config: Mapping[str, Any]) -> ClipWeights:
    """From a `ChineseCLIPModel` state dict and `config.json`."""
    # its pooling layer is saved by older programs and never used
    layout = Layout({name: t for name, t in state.items() if not name.startswith("text_model.pooler.")})
    embed_dim = layout.shape("text_projection.weight", 2)[0]
    text = tower_config(config, "text_config", TEXT_DEFAULTS)
    tower = from_bert(
        layout,
        "text_model.",
        heads=int(text["num_attention_heads"]),
        activation=activation_of(text, "text_config"),
        eps=float(text["layer_norm_eps"]),
        form=replace(FORM, read="first"),
    )
    projection = layout.take({"projection": ("text_projection.weight",)}, ("projection",))
    weights = ClipWeights(
        text=with_projection(tower, projection["projection"]),
        image=image_weights(layout, tower_config(config, "vision_config", VISION_DEFAULTS)),
        embed_dim=embed_dim,
        logit_scale=layout.scale(),
    )
    layout.finish()
    return weights
