"""timm's image towers in open_clip's weights, below `visual.trunk.` and `visual.head.`.

Plain vision transformers of SigLIP's and CLIP's kind are read into our own tower; what shapes cannot say of them stands
below. Every other model is made by timm itself, and stays as it is: frozen, and closed to visual prompts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from vlprompt.backbones.towers.timm_tower import TimmSizes, TimmTower
from vlprompt.backbones.towers.vit import ImageForm, ImageSizes, PoolForm
from vlprompt.backbones.weights.tower_weights import (
    NO_WEIGHTS,
    Layout,
    Names,
    TowerWeights,
    both,
    pooled_query,
)

TRUNK = "visual.trunk."
PLAIN = re.compile(r"vit_\w+_patch(\d+)_(siglip|siglip_gap|clip)_(\d+)")
# Of these the activation is GELU's tanh form.
TANH = re.compile(
    r"vit_(base_patch32|so400m_patch16|giantopt_patch16)_siglip\w*|vit_large_patch16_siglip\w*_512"
)
WIDE_HEADS = 16  # of models more than 768 wide


def timm_weights(layout: Layout, config: Mapping[str, Any], embed_dim: int) -> TowerWeights:
    """config: open_clip's `vision_cfg`."""
    plain = PLAIN.fullmatch(str(config["timm_model_name"]))
    return _plain(layout, config) if plain else _frozen(layout, config, embed_dim)


def _frozen(layout: Layout, config: Mapping[str, Any], embed_dim: int) -> TowerWeights:
    """All that stands below `visual.`, for a tower that timm makes."""
    names: Names = {
        name.removeprefix("visual."): (name,)
        for name in layout.state
        if name.startswith("visual.") and not name.endswith(NO_WEIGHTS)
    }
    proj = config.get("timm_proj", "linear")
    sizes = TimmSizes(
        model=str(config["timm_model_name"]),
        resolution=int(config.get("image_size", 224)),
        pool=config.get("timm_pool", "avg") or "",
        head="head" if proj is None else str(proj) or "head",
        bias=bool(config.get("timm_proj_bias")),
        embed_dim=embed_dim,
    )
    return TowerWeights(sizes, layout.take(names), "timm", 0.0, build=lambda _: TimmTower(sizes))


def _plain(layout: Layout, config: Mapping[str, Any]) -> TowerWeights:
    name = str(config["timm_model_name"])
    clip = "_clip_" in name
    width, _, patch, _ = layout.shape(f"{TRUNK}patch_embed.proj.weight", 4)
    grid = math.isqrt(layout.shape(f"{TRUNK}pos_embed", 3)[1] - clip)
    sizes = ImageSizes(
        width=width,
        layers=layout.count(rf"{re.escape(TRUNK)}blocks\.(\d+)\."),
        heads=width // 64 if width <= 768 else WIDE_HEADS,
        mlp_width=layout.shape(f"{TRUNK}blocks.0.mlp.fc1.weight", 2)[0],
        resolution=int(config.get("image_size", grid * patch)),
        patch=patch,
    )
    pooled = config.get("timm_pool") == "map"
    names: Names = {
        "patch_embedding.weight": (f"{TRUNK}patch_embed.proj.weight",),
        "positional_embedding": (f"{TRUNK}pos_embed",),
        **both("ln_post", f"{TRUNK}norm"),
    }
    if clip:
        names |= {"class_embedding": (f"{TRUNK}cls_token",), **both("ln_pre", f"{TRUNK}norm_pre")}
    else:
        names["patch_embedding.bias"] = (f"{TRUNK}patch_embed.proj.bias",)
    for i in range(sizes.layers):
        at = f"{TRUNK}blocks.{i}"
        parts = {
            "ln_1": "norm1",
            "qkv": "attn.qkv",
            "out": "attn.proj",
            "ln_2": "norm2",
            "fc": "mlp.fc1",
            "proj": "mlp.fc2",
        }
        for ours, theirs in parts.items():
            names |= both(f"blocks.{i}.{ours}", f"{at}.{theirs}")
    form = ImageForm(
        class_token=clip,
        patch_bias=not clip,
        norm_pre=clip,
        read="attention" if pooled else "first" if clip else "mean",
        projection=False,
        pool=PoolForm(width, sizes.heads, mlp_width=sizes.mlp_width) if pooled else None,
    )
    taken = layout.take(names)
    for ours in ("positional_embedding", "class_embedding"):
        if ours in taken:
            taken[ours] = taken[ours].flatten(0, -2).squeeze(0)
    if pooled:
        taken |= _pool(layout)
    projection, form = _projection(layout, form)
    activation = "gelu_tanh" if TANH.fullmatch(name) else "gelu"
    return TowerWeights(sizes, taken | projection, activation, 1e-5 if clip else 1e-6, form)


def _pool(layout: Layout) -> dict[str, Tensor]:
    at = f"{TRUNK}attn_pool"
    taken = layout.take(
        {
            "latent": (f"{at}.latent",),
            **both("q", f"{at}.q"),
            **both("pool.keys_values", f"{at}.kv"),
            **both("pool.out", f"{at}.proj"),
            **both("pool.ln", f"{at}.norm"),
            **both("pool.fc", f"{at}.mlp.fc1"),
            **both("pool.proj", f"{at}.mlp.fc2"),
        }
    )
    if "latent" in taken and "q.weight" in taken and "q.bias" in taken:
        query = pooled_query(taken.pop("latent").flatten(), taken.pop("q.weight"), taken.pop("q.bias"))
        taken["pool.query"] = query
    return taken


def _projection(layout: Layout, form: ImageForm) -> tuple[dict[str, Tensor], ImageForm]:
    """What follows the trunk: its own head, a linear layer, or nothing."""
    for at in (f"{TRUNK}head", "visual.head.proj"):
        if f"{at}.weight" in layout.state:
            bias = f"{at}.bias" in layout.state
            names: Names = {"projection": (f"{at}.weight",)}
            names |= {"projection_bias": (f"{at}.bias",)} if bias else {}
            return layout.take(names, ("projection",)), replace(form, projection=True, bias=bias)
    return {}, form
