"""OpenAI's and open_clip's weights to ours: pure functions from state dicts to sizes and tensors.

Both use the names of https://github.com/openai/CLIP. OpenAI: all sizes are read from the shapes,
heads = width / 64, QuickGELU. open_clip: what shapes cannot say comes from `model_cfg` of
`open_clip_config.json`; anything there that changes the computation is refused by name.
Missing and surplus tensors are BackboneErrors that name them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vlprompt.backbones.towers.resnet import ResNetSizes, resnet_names
from vlprompt.backbones.towers.text import TextSizes
from vlprompt.backbones.towers.vit import ImageSizes
from vlprompt.backbones.weights.tower_weights import ClipWeights, Layout, TowerWeights
from vlprompt.errors import BackboneError

# Entries of open_clip's model_cfg that leave the features alone, or that are read below.
OPEN_CLIP_READ = {
    "model_cfg": {
        "embed_dim",
        "quick_gelu",
        "vision_cfg",
        "text_cfg",
        "custom_text",
        "cast_dtype",
        "output_dict",
        "init_logit_scale",
        "nonscalar_logit_scale",
    },
    "vision_cfg": {
        "image_size",
        "layers",
        "width",
        "head_width",
        "patch_size",
        "mlp_ratio",
        "patch_dropout",
        "norm_kwargs",
        "attn_pooler_queries",
        "attn_pooler_heads",
        "output_tokens",
    },
    "text_cfg": {
        "context_length",
        "vocab_size",
        "width",
        "heads",
        "layers",
        "mlp_ratio",
        "norm_kwargs",
        "pad_id",
        "eos_id",
        "output_tokens",
        "hf_model_pretrained",
        "hf_proj_type",
        "hf_pooler_type",
    },
}
# Entries that must have the value that CLIP has.
OPEN_CLIP_FIXED: dict[str, tuple[Any, ...]] = {
    "pos_embed_type": ("learnable",),
    "pool_type": ("tok", "argmax"),
    "proj_type": ("linear",),
    "block_type": (None, "default"),
}


def from_openai(state: Mapping[str, Any]) -> ClipWeights:
    """From the state dict of one of OpenAI's models (tensors or arrays, any precision), ViT or ResNet."""
    layout = Layout(state)
    text = text_sizes(layout, heads=None)
    image = vit_sizes(layout) if "visual.proj" in layout.state else resnet_sizes(layout)
    return _weights(layout, text, image, activation="quick_gelu")


def from_open_clip(state: Mapping[str, Any], config: Mapping[str, Any]) -> ClipWeights:
    """From open_clip's state dict and its `model_cfg`."""
    refuse_unknown_open_clip(config)
    if "text.token_embedding.weight" in state:  # its newer class keeps the text tower in a module of its own
        state = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    layout = Layout(state)
    text_config, vision = config.get("text_cfg", {}), config.get("vision_cfg", {})
    text = text_sizes(layout, heads=text_config.get("heads", 8))
    head_width = vision.get("head_width", 64)
    image: ImageSizes | ResNetSizes
    if isinstance(vision.get("layers"), (list, tuple)):
        image = resnet_sizes(layout)
        image = replace(image, heads=image.width * 32 // head_width)
    else:
        image = vit_sizes(layout, head_width)
    return _weights(
        layout,
        text,
        image,
        activation="quick_gelu" if config.get("quick_gelu") else "gelu",
        text_eps=(text_config.get("norm_kwargs") or {}).get("eps", 1e-5),
        image_eps=(vision.get("norm_kwargs") or {}).get("eps", 1e-5),
    )


def refuse_unknown_open_clip(config: Mapping[str, Any]) -> None:
    """Raises BackboneError if `model_cfg` asks for something that CLIP's towers do not have."""
    parts = {
        "model_cfg": config,
        "vision_cfg": config.get("vision_cfg", {}),
        "text_cfg": config.get("text_cfg", {}),
    }
    for part, values in parts.items():
        for name, value in values.items():
            known = name in OPEN_CLIP_READ[part] or value in OPEN_CLIP_FIXED.get(name, ())
            if not known and value not in (None, False, {}, []) and not _unused(name, values):
                raise BackboneError(
                    f"open_clip_config.json: {part}.{name} = {value!r} is not a CLIP that vlprompt knows "
                    "(two plain CLIP towers, ViT or ResNet)"
                )
        extra = set(values.get("norm_kwargs") or {}) - {"eps"}
        if extra:
            raise BackboneError(
                f"open_clip_config.json: {part}.norm_kwargs has unknown {', '.join(sorted(extra))}"
            )


def _unused(name: str, values: Mapping[str, Any]) -> bool:
    """timm and Hugging Face settings say nothing where no such model is named."""
    return name.startswith("timm_") and not values.get("timm_model_name")


def text_sizes(layout: Layout, heads: int | None) -> TextSizes:
    """heads: None if the layout says 64 numbers per head."""
    vocabulary, width = layout.shape("token_embedding.weight", 2)
    return TextSizes(
        width=width,
        layers=layout.count(r"transformer\.resblocks\.(\d+)\."),
        heads=_split(width, 64, "text") if heads is None else heads,
        mlp_width=layout.shape("transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        context_length=layout.shape("positional_embedding", 2)[0],
        vocabulary=vocabulary,
    )


def vit_sizes(layout: Layout, head_width: int = 64) -> ImageSizes:
    width, _, patch, _ = layout.shape("visual.conv1.weight", 4)
    grid = math.isqrt(layout.shape("visual.positional_embedding", 2)[0] - 1)
    return ImageSizes(
        width=width,
        layers=layout.count(r"visual\.transformer\.resblocks\.(\d+)\."),
        heads=_split(width, head_width, "image"),
        mlp_width=layout.shape("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        resolution=grid * patch,
        patch=patch,
    )


def resnet_sizes(layout: Layout) -> ResNetSizes:
    width = layout.shape("visual.layer1.0.conv1.weight", 4)[0]
    grid = math.isqrt(layout.shape("visual.attnpool.positional_embedding", 2)[0] - 1)
    return ResNetSizes(
        width=width,
        blocks=tuple(layout.count(rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)),
        heads=width * 32 // 64,
        resolution=grid * 32,
    )


def _split(width: int, head_width: int, tower: str) -> int:
    if width % head_width:
        raise BackboneError(
            f"the {tower} tower is {width} wide and cannot be split into heads of {head_width}"
        )
    return width // head_width


def _weights(
    layout: Layout,
    text: TextSizes,
    image: ImageSizes | ResNetSizes,
    activation: str,
    text_eps: float = 1e-5,
    image_eps: float = 1e-5,
) -> ClipWeights:
    image_names = _vit_names(image.layers) if isinstance(image, ImageSizes) else resnet_names(image)
    weights = ClipWeights(
        text=TowerWeights(text, layout.take(_text_names(text.layers)), activation, text_eps),
        image=TowerWeights(image, layout.take(image_names), activation, image_eps),
        embed_dim=layout.shape("text_projection", 2)[1],
        logit_scale=layout.scale(),
    )
    layout.finish()
    return weights


def _text_names(layers: int) -> dict[str, tuple[str, ...]]:
    same = ["token_embedding.weight", "positional_embedding", "ln_final.weight", "ln_final.bias"]
    names = {name: (name,) for name in same} | {"projection": ("text_projection",)}
    return names | _block_names("transformer", layers)


def _vit_names(layers: int) -> dict[str, tuple[str, ...]]:
    names = {"patch_embedding.weight": ("visual.conv1.weight",), "projection": ("visual.proj",)}
    same = ["class_embedding", "positional_embedding"]
    same += [f"{norm}.{part}" for norm in ("ln_pre", "ln_post") for part in ("weight", "bias")]
    names |= {name: (f"visual.{name}",) for name in same}
    return names | _block_names("visual.transformer", layers)


def _block_names(prefix: str, layers: int) -> dict[str, tuple[str, ...]]:
    modules = {
        "ln_1": "ln_1.",
        "qkv": "attn.in_proj_",
        "out": "attn.out_proj.",
        "ln_2": "ln_2.",
        "fc": "mlp.c_fc.",
        "proj": "mlp.c_proj.",
    }
    return {
        f"blocks.{i}.{ours}.{part}": (f"{prefix}.resblocks.{i}.{theirs}{part}",)
        for i in range(layers)
        for ours, theirs in modules.items()
        for part in ("weight", "bias")
    }
