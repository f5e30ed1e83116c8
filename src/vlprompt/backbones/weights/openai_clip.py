"""OpenAI's weights to ours: pure functions from state dicts to sizes and tensors.

The names are those of https://github.com/openai/CLIP. All sizes are read from the shapes, heads = width / 64, QuickGELU.
Missing and surplus tensors are BackboneErrors that name them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vlprompt.backbones.towers.resnet import ResNetSizes, resnet_names
from vlprompt.backbones.towers.text import TextSizes
from vlprompt.backbones.towers.vit import ImageSizes
from vlprompt.backbones.weights.tower_weights import ClipWeights, Layout, TowerWeights
from vlprompt.errors import BackboneError


def from_openai(state: Mapping[str, Any]) -> ClipWeights:
    """From the state dict of one of OpenAI's models (tensors or arrays, any precision), ViT or ResNet."""
    layout = Layout(state)
    text = text_sizes(layout, heads=None)
    image: ImageSizes | ResNetSizes
    if "visual.proj" in layout.state:
        image = vit_sizes(layout)
        image_names = vit_names(image.layers)
    else:
        image = resnet_sizes(layout)
        image_names = resnet_names(image)
    weights = ClipWeights(
        text=TowerWeights(text, layout.take(text_names(text.layers))),
        image=TowerWeights(image, layout.take(image_names)),
        embed_dim=layout.shape("text_projection", 2)[1],
        logit_scale=layout.scale(),
    )
    layout.finish()
    return weights


def text_sizes(layout: Layout, heads: int | None) -> TextSizes:
    """heads: None if the layout says 64 numbers per head."""
    vocabulary, width = layout.shape("token_embedding.weight", 2)
    return TextSizes(
        width=width,
        layers=layout.count(r"transformer\.resblocks\.(\d+)\."),
        heads=split_heads(width, 64, "text") if heads is None else heads,
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
        heads=split_heads(width, head_width, "image"),
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


def split_heads(width: int, head_width: int, tower: str) -> int:
    if width % head_width:
        raise BackboneError(
            f"the {tower} tower is {width} wide and cannot be split into heads of {head_width}"
        )
    return width // head_width


def text_names(layers: int) -> dict[str, tuple[str, ...]]:
    same = ["token_embedding.weight", "positional_embedding", "ln_final.weight", "ln_final.bias"]
    names = {name: (name,) for name in same} | {"projection": ("text_projection",)}
    return names | block_names("transformer", layers)


def vit_names(layers: int) -> dict[str, tuple[str, ...]]:
    """Our names of a ViT image tower's tensors -> OpenAI's. layers: how many blocks it has."""
    names = {"patch_embedding.weight": ("visual.conv1.weight",), "projection": ("visual.proj",)}
    same = ["class_embedding", "positional_embedding"]
    same += [f"{norm}.{part}" for norm in ("ln_pre", "ln_post") for part in ("weight", "bias")]
    names |= {name: (f"visual.{name}",) for name in same}
    return names | block_names("visual.transformer", layers)


def block_names(prefix: str, layers: int) -> dict[str, tuple[str, ...]]:
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
