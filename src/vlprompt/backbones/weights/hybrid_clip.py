"""The project's own layout: a hybrid image tower and a BERT, with what their `config.json` says of them.

Tensors have our names. Tables and matrices may be stored as int8 [R, C] with a scale for each row beside them,
`NAME.scale` [R]: the value is int8 * scale[:, None].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vlprompt.backbones.towers.hybrid import BottleneckSizes, HybridSizes, StemSizes
from vlprompt.backbones.towers.text import TextForm, TextSizes
from vlprompt.backbones.towers.vit import ImageForm
from vlprompt.backbones.weights.tower_weights import ClipWeights, TowerWeights
from vlprompt.errors import BackboneError

FORMAT, VERSION = "vlprompt-hybrid-clip", 1
# What the two towers must say of themselves: there is one kind of each.
KINDS: dict[str, dict[str, Any]] = {
    "image": {"kind": "hybrid", "norm": "pre", "pooling": "class token"},
    "text": {"kind": "bert", "norm": "post", "pooling": "mean", "causal": False},
}
STEM = {"kind": "mobile inverted bottlenecks", "activation": "relu6"}


def from_hybrid(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> ClipWeights:
    """Raises BackboneError for another version, or for towers of another kind than the layout has."""
    if config.get("version") != VERSION:
        raise BackboneError(
            f"this folder has version {config.get('version')} of {FORMAT}, this vlprompt reads {VERSION}: "
            "install the vlprompt that wrote it"
        )
    for which, kinds in KINDS.items():
        _same(config[which], kinds, which)
    _same(config["image"]["stem"], STEM, "image.stem")
    tensors = full(state)
    image, text = config["image"], config["text"]
    tower: dict[str, dict[str, Tensor]] = {"image": {}, "text": {}}
    for name, tensor in tensors.items():
        which, _, rest = name.partition(".")
        if which not in tower:
            raise BackboneError(f'"{name}" belongs to neither tower: this is no {FORMAT}')
        tower[which][rest] = tensor
    return ClipWeights(
        text=_text(text, tower["text"]),
        image=TowerWeights(
            HybridSizes(
                **_common(image), resolution=int(image["size"]), stem=_stem(image["stem"], image["size"])
            ),
            tower["image"],
            image["activation"],
            float(image["eps"]),
            ImageForm(norm_pre=False, norm_post="none", projection=False),
        ),
        embed_dim=int(config["embed_dim"]),
        logit_scale=float(config["logit_scale"]),
    )


def full(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor in float32, rows of int8 times their scales."""
    found = {}
    for name, value in state.items():
        if name.endswith(".scale") and name.removesuffix(".scale") in state:
            continue
        scale = state.get(f"{name}.scale")
        if value.dtype == torch.int8 and scale is None:
            raise BackboneError(f"{name} is stored in 8 bits without its scales, {name}.scale")
        found[name] = value.float() if scale is None else value.float() * scale.float()[:, None]
    return found


def _text(config: Mapping[str, Any], tensors: dict[str, Tensor]) -> TowerWeights:
    hidden = bool(config.get("hidden"))
    named = {
        "projection.bias": "projection_bias",
        "projection.weight": "projection",
        "hidden.weight": "head.1.weight",
        "hidden.bias": "head.1.bias",
    }
    renamed = {named.get(name, name): tensor for name, tensor in tensors.items()}
    if "projection" in renamed:
        renamed["projection"] = renamed["projection"].T
    return TowerWeights(
        TextSizes(
            **_common(config),
            context_length=int(config["context_length"]),
            vocabulary=int(config["vocabulary"]),
        ),
        renamed,
        config["activation"],
        float(config["eps"]),
        TextForm(
            causal=False,
            read="mean",
            post_norm=True,
            norm_first=True,
            norm_last=False,
            head=("unit", "linear", "exp") if hidden else (),
            bias=True,
            exact=True,
        ),
    )


def _stem(config: Mapping[str, Any], size: int) -> StemSizes:
    first, reduction = config["first"], int(config["reduction"])
    for one in (first, *config["blocks"]):
        if not all(isinstance(side, int) and 0 <= side <= one["kernel"] for side in one["padding"]):
            raise BackboneError(f"config.json: padding {one['padding']} around a kernel of {one['kernel']}")
    if size % reduction:
        raise BackboneError(f"pictures of {size} pixels are no whole number of cells of {reduction}")
    return StemSizes(
        first["outputs"],
        first["kernel"],
        first["stride"],
        tuple(first["padding"]),
        tuple(BottleneckSizes(**{**one, "padding": tuple(one["padding"])}) for one in config["blocks"]),
        config["last"]["outputs"],
        reduction,
    )


def _common(config: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(config[name]) for name in ("width", "layers", "heads", "mlp_width")}


def _same(config: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    for name, value in wanted.items():
        if config.get(name) != value:
            raise BackboneError(f"config.json: {where}.{name} is {config.get(name)!r}, expected {value!r}")
