"""Hugging Face's `CLIPModel` to ours: `config.json` says the sizes, the state dict holds the tensors.

`MetaClip2Model` is the same with another vocabulary. Defaults of missing entries are those of transformers'
`CLIPTextConfig` and `CLIPVisionConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlprompt.backbones.towers.text import TextSizes
from vlprompt.backbones.towers.transformer import TransformerSizes
from vlprompt.backbones.towers.vit import ImageSizes
from vlprompt.backbones.weights.tower_weights import ClipWeights, Layout, TowerWeights, both
from vlprompt.errors import BackboneError

TEXT_DEFAULTS = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
VISION_DEFAULTS = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
# "gelu" is the exact one; "gelu_new" and "gelu_fast" are its tanh form written out.
ACTIVATIONS = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
}


def from_huggingface(state: Mapping[str, Any], config: Mapping[str, Any]) -> ClipWeights:
    """From a `CLIPModel` state dict and `config.json`. Raises BackboneError for other models."""
    layout = Layout(state)
    text = tower_config(config, "text_config", TEXT_DEFAULTS)
    vision = tower_config(config, "vision_config", VISION_DEFAULTS)
    text_sizes = TextSizes(
        **common_sizes(layout, text),
        context_length=int(text["max_position_embeddings"]),
        vocabulary=int(text["vocab_size"]),
    )
    embed_dim = layout.shape("text_projection.weight", 2)[0]
    weights = ClipWeights(
        text=TowerWeights(
            text_sizes,
            layout.take(_text_names(text_sizes), transposed=("projection",)),
            activation_of(text, "text_config"),
            float(text["layer_norm_eps"]),
        ),
        image=image_weights(layout, vision),
        embed_dim=embed_dim,
        logit_scale=layout.scale(),
    )
    layout.finish()
    return weights


def image_weights(layout: Layout, config: Mapping[str, Any]) -> TowerWeights:
    """CLIP's image tower, which other families have too. config: of the image tower."""
    sizes = ImageSizes(
        **common_sizes(layout, config),
        resolution=square_side(config["image_size"]),
        patch=square_side(config["patch_size"]),
    )
    return TowerWeights(
        sizes,
        layout.take(_image_names(sizes), transposed=("projection",)),
        activation_of(config, "vision_config"),
        float(config["layer_norm_eps"]),
    )


def tower_config(config: Mapping[str, Any], part: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """All entries of one tower; the `_dict` form of old files wins, as in transformers."""
    stated = {**(config.get(part) or {}), **(config.get(f"{part}_dict") or {})}
    return {**defaults, **stated}


def end_ids(config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Start and end id where config.json states them; 2 stood for "the highest id" in old files."""
    text = tower_config(config, "text_config", TEXT_DEFAULTS)
    end = text.get("eos_token_id")
    if config.get("model_type", "clip") != "clip":
        return text.get("bos_token_id"), end
    return text.get("bos_token_id"), None if end == 2 else end


def common_sizes(layout: Layout, config: Mapping[str, Any]) -> dict[str, int]:
    """Sizes that all transformers have. Raises BackboneError for what can be none."""
    width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    if heads < 1 or width % heads:
        raise BackboneError(f"config.json: width {width} cannot be split into {heads} heads")
    layers, mlp_width = int(config["num_hidden_layers"]), int(config["intermediate_size"])
    if min(width, layers, mlp_width) < 1:
        raise BackboneError(
            f"config.json: width {width}, {layers} layers, inner width {mlp_width} are no sizes"
        )
    layout.check_layers(layers)
    return {"width": width, "layers": layers, "heads": heads, "mlp_width": mlp_width}


def activation_of(config: Mapping[str, Any], part: str) -> str:
    name = str(config["hidden_act"])
    if name not in ACTIVATIONS:
        raise BackboneError(
            f'config.json: {part}.hidden_act "{name}" is not supported: {", ".join(ACTIVATIONS)}'
        )
    return ACTIVATIONS[name]


def square_side(size: Any) -> int:
    sides = [size] if isinstance(size, int) else list(size)
    if len(set(sides)) != 1 or sides[0] < 1:
        raise BackboneError(f"config.json: pictures and patches must be squares, not {tuple(sides)}")
    return int(sides[0])


def _text_names(sizes: TextSizes) -> dict[str, tuple[str, ...]]:
    return {
        "token_embedding.weight": ("text_model.embeddings.token_embedding.weight",),
        "positional_embedding": ("text_model.embeddings.position_embedding.weight",),
        "projection": ("text_projection.weight",),
        **both("ln_final", "text_model.final_layer_norm"),
        **block_names("text_model", sizes),
    }


def _image_names(sizes: ImageSizes) -> dict[str, tuple[str, ...]]:
    return {
        "patch_embedding.weight": ("vision_model.embeddings.patch_embedding.weight",),
        "class_embedding": ("vision_model.embeddings.class_embedding",),
        "positional_embedding": ("vision_model.embeddings.position_embedding.weight",),
        "projection": ("visual_projection.weight",),
        **both("ln_pre", "vision_model.pre_layrnorm"),  # their spelling
        **both("ln_post", "vision_model.post_layernorm"),
        **block_names("vision_model", sizes),
    }


def block_names(tower: str, sizes: TransformerSizes) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for i in range(sizes.layers):
        ours, theirs = f"blocks.{i}", f"{tower}.encoder.layers.{i}"
        names |= both(f"{ours}.ln_1", f"{theirs}.layer_norm1")
        names |= both(f"{ours}.qkv", *(f"{theirs}.self_attn.{part}_proj" for part in "qkv"))
        names |= both(f"{ours}.out", f"{theirs}.self_attn.out_proj")
        names |= both(f"{ours}.ln_2", f"{theirs}.layer_norm2")
        names |= both(f"{ours}.fc", f"{theirs}.mlp.fc1")
        names |= both(f"{ours}.proj", f"{theirs}.mlp.fc2")
    return names
