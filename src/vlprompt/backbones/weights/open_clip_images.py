"""open_clip's image towers: its own vision transformers, OpenAI's ResNets, and towers of timm.

timm's plain vision transformers (SigLIP's, CLIP's) become ours, with all that ours can do; all others run as timm has
them, frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.towers.resnet import resnet_names
from vlprompt.backbones.towers.vit import ImageForm, PoolForm
from vlprompt.backbones.weights.open_clip_texts import activation, eps, scaled
from vlprompt.backbones.weights.openai_clip import resnet_sizes, vit_names, vit_sizes
from vlprompt.backbones.weights.timm_images import timm_weights
from vlprompt.backbones.weights.tower_weights import Layout, Names, TowerWeights, both, pooled_query


def image_weights(layout: Layout, config: Mapping[str, Any], quick: bool, embed_dim: int) -> TowerWeights:
    """config: `vision_cfg`. quick: whether the activation is QuickGELU (timm's never is)."""
    if config.get("timm_model_name"):
        return timm_weights(layout, config, embed_dim)
    if isinstance(config.get("layers"), (list, tuple)):
        sizes = resnet_sizes(layout)
        sizes = replace(sizes, heads=sizes.width * 32 // config.get("head_width", 64))
        return TowerWeights(sizes, layout.take(resnet_names(sizes)), activation(config, quick), eps(config))
    return _vit(layout, config, quick)


def _vit(layout: Layout, config: Mapping[str, Any], quick: bool) -> TowerWeights:
    sizes = vit_sizes(layout, config.get("head_width", 64))
    form = image_form(layout, config)
    names = vit_names(sizes.layers)
    if not form.norm_pre:
        names = {ours: theirs for ours, theirs in names.items() if not ours.startswith("ln_pre.")}
    taken = layout.take(names)
    if form.pool is not None:
        taken |= _pool(layout, form.pool.width, sizes.width)
    taken = scaled(layout, taken, "visual.transformer", sizes.layers)
    return TowerWeights(sizes, taken, activation(config, quick), eps(config), form)


def image_form(layout: Layout, config: Mapping[str, Any]) -> ImageForm:
    """What kind of tower `vision_cfg` describes; sizes of an attention pooling are read from its tensors."""
    norm_pre = not config.get("no_ln_pre")
    if config.get("attentional_pool"):
        width = layout.shape("visual.attn_pool.query", 2)[1]
        pool = PoolForm(width, int(config.get("attn_pooler_heads", 8)), norm_keys=True)
        return ImageForm(norm_pre=norm_pre, read="attention", norm_post="after", pool=pool)
    mean = config.get("pool_type") == "avg"
    after = bool(config.get("final_ln_after_pool"))
    return ImageForm(
        norm_pre=norm_pre, read="mean" if mean else "first", norm_post="after" if after and mean else "before"
    )


def _pool(layout: Layout, width: int, inputs: int) -> dict[str, Tensor]:
    """CoCa's pooling, of whose queries the first is the picture's feature."""
    at = "visual.attn_pool"
    names: Names = {
        **both("pool.ln_keys", f"{at}.ln_k"),
        **both("pool.out", f"{at}.attn.out_proj"),
        **both("ln_q", f"{at}.ln_q"),
        "query": (f"{at}.query",),
        "in.bias": (f"{at}.attn.in_proj_bias",),
    }
    if width == inputs:
        names["in.weight"] = (f"{at}.attn.in_proj_weight",)
    else:
        names |= {f"in.{part}": (f"{at}.attn.{part}_proj_weight",) for part in "qkv"}
    taken = layout.take(names)
    if width == inputs:
        q, k, v = taken.pop("in.weight").chunk(3)
    else:
        q, k, v = (taken.pop(f"in.{part}") for part in "qkv")
    bias, first = taken.pop("in.bias"), taken.pop("query")[0]
    query = F.layer_norm(first, (width,), taken.pop("ln_q.weight"), taken.pop("ln_q.bias"))
    return taken | {
        "pool.query": pooled_query(query, q, bias[:width]),
        "pool.keys_values.weight": torch.cat([k, v]),
        "pool.keys_values.bias": bias[width:],
    }
