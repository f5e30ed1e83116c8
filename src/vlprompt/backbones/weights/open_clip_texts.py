"""open_clip's text towers: its own transformer in all its variants, and Hugging Face models of BERT's kind.

`text_cfg` says: masked causally or not, padding hidden or not, where the feature is read, a class token (CoCa), whether
the projection has a bias. Texts read at the last of all positions, or not causal, see the padding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from vlprompt.backbones.towers.text import TextForm
from vlprompt.backbones.weights.bert import FORM, from_bert
from vlprompt.backbones.weights.openai_clip import block_names, text_sizes
from vlprompt.backbones.weights.tower_weights import Layout, Names, TowerWeights
from vlprompt.errors import BackboneError

READS: dict[str, Literal["end", "first", "last"]] = {
    "argmax": "end",
    "eos": "end",
    "first": "first",
    "last": "last",
}
# Hugging Face models of BERT's kind: positions that no token has, eps of the norms
BERTS = {"bert": (0, 1e-12), "roberta": (2, 1e-5), "xlm-roberta": (2, 1e-5)}
POOLERS: dict[str, Literal["mean", "first"]] = {
    "mean_pooler": "mean",
    "cls_last_hidden_state_pooler": "first",
}


def text_weights(layout: Layout, config: Mapping[str, Any], quick: bool) -> tuple[TowerWeights, int]:
    """The tower, and the width of the joint space. quick: whether its activation is QuickGELU."""
    if config.get("hf_model_name"):
        return _huggingface(layout, config)
    sizes = text_sizes(layout, heads=config.get("heads", 8))
    form = text_form(config)
    if form.read == "class":
        sizes = replace(sizes, context_length=sizes.context_length - 1)
    same = ["token_embedding.weight", "positional_embedding", "ln_final.weight", "ln_final.bias"]
    names: Names = {name: (name,) for name in same} | block_names("transformer", sizes.layers)
    if form.read == "class":
        names["class_embedding"] = ("cls_emb",)
    transposed: tuple[str, ...] = ()
    if form.bias:
        names |= {"projection": ("text_projection.weight",), "projection_bias": ("text_projection.bias",)}
        transposed = ("projection",)
    elif config.get("proj_type") != "none":
        names["projection"] = ("text_projection",)
    taken = layout.take(names, transposed)
    if config.get("proj_type") == "none":
        taken["projection"] = torch.eye(sizes.width)
    taken = scaled(layout, taken, "transformer", sizes.layers)
    embed_dim = taken["projection"].shape[1] if "projection" in taken else sizes.width
    return TowerWeights(sizes, taken, activation(config, quick), eps(config), form), embed_dim


def text_form(config: Mapping[str, Any]) -> TextForm:
    """What kind of tower `text_cfg` describes."""
    causal = not config.get("no_causal_mask")
    bias = bool(config.get("proj_bias")) and config.get("proj_type") != "none"
    if config.get("embed_cls"):
        sees: Literal["itself", "next"] = "itself" if config.get("correct_cls_mask") else "next"
        if not causal:
            raise BackboneError(
                "open_clip_config.json: text_cfg.embed_cls with no_causal_mask is not supported"
            )
        return TextForm(read="class", class_sees=sees, bias=bias)
    read = READS[config.get("pool_type") or "argmax"]
    return TextForm(causal=causal, read=read, padded=read == "last" or not causal, bias=bias)


def activation(config: Mapping[str, Any], quick: bool) -> str:
    tanh = (config.get("act_kwargs") or {}).get("approximate") == "tanh"
    return "quick_gelu" if quick else "gelu_tanh" if tanh else "gelu"


def eps(config: Mapping[str, Any]) -> float:
    return float((config.get("norm_kwargs") or {}).get("eps", 1e-5))


def scaled(layout: Layout, taken: dict[str, Tensor], prefix: str, layers: int) -> dict[str, Tensor]:
    """The blocks' last layers times the scales behind them (`ls_init_value`), which change nothing else."""
    found = dict(taken)
    for i in range(layers):
        for ours, theirs in (("out", "ls_1"), ("proj", "ls_2")):
            name = f"{prefix}.resblocks.{i}.{theirs}.gamma"
            if name in layout.state:
                gamma = layout.take({"gamma": (name,)})["gamma"]
                at = f"blocks.{i}.{ours}"
                found |= {
                    f"{at}.weight": taken[f"{at}.weight"] * gamma[:, None],
                    f"{at}.bias": taken[f"{at}.bias"] * gamma,
                }
    return found


def _huggingface(layout: Layout, config: Mapping[str, Any]) -> tuple[TowerWeights, int]:
    """A model of BERT's kind below `transformer.`, and its projection below `proj.`."""
    model = str(config["hf_model_name"])
    kind = next((k for k in sorted(BERTS, key=len, reverse=True) if k in model.lower()), None)
    pooler = POOLERS.get(config.get("hf_pooler_type") or "mean_pooler")
    if kind is None or pooler is None:
        what = f"hf_model_name {model!r}" if kind is None else f"hf_pooler_type {config['hf_pooler_type']!r}"
        raise BackboneError(
            f"open_clip_config.json: text_cfg.{what} is not supported: text towers of {', '.join(BERTS)} "
            f"with {' or '.join(POOLERS)} are"
        )
    width = layout.shape("transformer.embeddings.word_embeddings.weight", 2)[1]
    offset, norm_eps = BERTS[kind]
    names: Names = {}
    head: tuple[str, ...] = ()
    if "proj.weight" in layout.state:
        names = {"projection": ("proj.weight",)}
    elif "proj.2.weight" in layout.state:
        names = {"head.0.weight": ("proj.0.weight",), "projection": ("proj.2.weight",)}
        head = ("linear", "gelu")
    projected = layout.take(names, ("projection",)) or {"projection": torch.eye(width)}
    if head:
        projected["head.0.bias"] = torch.zeros(len(projected["head.0.weight"]))
    tower = from_bert(
        layout,
        "transformer.",
        heads=max(1, math.ceil(width / 64)),
        activation="gelu",
        eps=norm_eps,
        form=replace(FORM, read=pooler, head=head),
        offset=offset,
        context_length=config.get("context_length", 77),
    )
    tower = replace(tower, tensors=tower.tensors | projected)
    return tower, projected["projection"].shape[1]
