"""Published weight layouts to ours: pure functions from state dicts to sizes and native tensors.

OpenAI: names of https://github.com/openai/CLIP, all sizes read from the shapes, heads = width / 64.
open_clip: the same names, sizes from `open_clip_config.json`. Hugging Face: `CLIPModel`, `config.json`.
Missing and surplus tensors are BackboneErrors that name them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlprompt.clip.resnet import ResNetSizes, resnet_names
from vlprompt.clip.towers import ImageSizes, TextSizes, TransformerSizes
from vlprompt.errors import BackboneError

# Facts about the network that some files carry as tensors.
NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "position_ids", "attn_mask")


@dataclass(frozen=True)
class TowerWeights:
    """One tower: its sizes, and its tensors under our names."""

    sizes: Any
    tensors: dict[str, Tensor]
    activation: str = "quick_gelu"
    eps: float = 1e-5


@dataclass(frozen=True)
class ClipWeights:
    """Both towers. logit_scale: the multiplier itself."""

    text: TowerWeights
    image: TowerWeights
    embed_dim: int
    logit_scale: float


class Layout:
    """A state dict that remembers what was asked of it, to name what is missing and what is left."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = {name: torch.as_tensor(np.asarray(t) if not isinstance(t, Tensor) else t) for name, t in state.items()}
        self.used: set[str] = set()
        self.missing: list[str] = []

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.state:
            raise BackboneError(f'the weights have no tensor "{name}", so this is no CLIP layout that is known')
        return tuple(self.state[name].shape)

    def count(self, pattern: str) -> int:
        """One more than the highest number that stands where the pattern has its group."""
        found = [int(m[1]) for m in (re.match(pattern, name) for name in self.state) if m]
        return max(found, default=-1) + 1

    def take(self, names: Mapping[str, tuple[str, ...]], transposed: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """Native name -> tensor; several source names are stacked, as queries, keys and values are."""
        taken = {}
        for ours, theirs in names.items():
            lost = [name for name in theirs if name not in self.state]
            self.missing += lost
            self.used.update(theirs)
            if not lost:
                parts = [self.state[name] for name in theirs]
                tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
                taken[ours] = tensor.T if ours in transposed else tensor
        return taken

    def scale(self) -> float:
        """The inverse temperature, which is stored as its logarithm."""
        self.used.add("logit_scale")
        if "logit_scale" not in self.state:
            self.missing.append("logit_scale")
            return 1.0
        return math.exp(float(self.state["logit_scale"].float()))

    def finish(self) -> None:
        """Raises BackboneError if tensors are missing or left over."""
        surplus = [n for n in self.state if n not in self.used and not n.endswith(NO_WEIGHTS)]
        problems = [
            f"{what} {len(names)} tensors ({', '.join(sorted(names)[:4])}{', ...' if len(names) > 4 else ''})"
            for what, names in (("missing", self.missing), ("not known:", surplus))
            if names
        ]
        if problems:
            raise BackboneError(f"weights do not fit this CLIP layout: {'; '.join(problems)}")


def from_openai(state: Mapping[str, Any]) -> ClipWeights:
    """From the state dict of OpenAI's models (tensors or arrays, any precision), ViT or ResNet."""
    layout = Layout(state)
    embed_dim = layout.shape("text_projection")[1]
    text = _text_sizes(layout)
    image = vit_sizes(layout) if "visual.proj" in layout.state else resnet_sizes(layout)
    return _from_openai_names(layout, text, image, embed_dim, "quick_gelu")


def _from_openai_names(
    layout: Layout, text: TextSizes, image: ImageSizes | ResNetSizes, embed_dim: int, activation: str
) -> ClipWeights:
    image_names = _openai_image(image.layers) if isinstance(image, ImageSizes) else resnet_names(image)
    weights = ClipWeights(
        text=TowerWeights(text, layout.take(_openai_text(text.layers)), activation),
        image=TowerWeights(image, layout.take(image_names), activation),
        embed_dim=embed_dim,
        logit_scale=layout.scale(),
    )
    layout.used.update(n for n in layout.state if n.endswith("num_batches_tracked"))
    layout.finish()
    return weights


def _text_sizes(layout: Layout) -> TextSizes:
    vocabulary, width = layout.shape("token_embedding.weight")
    return TextSizes(
        width=width,
        layers=layout.count(r"transformer\.resblocks\.(\d+)\."),
        heads=_heads(width, "text"),
        mlp_width=layout.shape("transformer.resblocks.0.mlp.c_fc.weight")[0],
        context_length=layout.shape("positional_embedding")[0],
        vocabulary=vocabulary,
    )


def vit_sizes(layout: Layout) -> ImageSizes:
    width, _, patch, _ = layout.shape("visual.conv1.weight")
    grid = math.isqrt(layout.shape("visual.positional_embedding")[0] - 1)
    return ImageSizes(
        width=width,
        layers=layout.count(r"visual\.transformer\.resblocks\.(\d+)\."),
        heads=_heads(width, "image"),
        mlp_width=layout.shape("visual.transformer.resblocks.0.mlp.c_fc.weight")[0],
        resolution=grid * patch,
        patch=patch,
    )


def resnet_sizes(layout: Layout) -> ResNetSizes:
    width = layout.shape("visual.layer1.0.conv1.weight")[0]
    grid = math.isqrt(layout.shape("visual.attnpool.positional_embedding")[0] - 1)
    return ResNetSizes(
        width=width,
        blocks=tuple(layout.count(rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)),
        heads=width * 32 // 64,
        resolution=grid * 32,
    )


def _heads(width: int, tower: str) -> int:
    if width % 64:
        raise BackboneError(f"the {tower} tower is {width} wide, which OpenAI's layout cannot split into heads of 64")
    return width // 64


def _openai_text(layers: int) -> dict[str, tuple[str, ...]]:
    names = {n: (n,) for n in ("token_embedding.weight", "positional_embedding")}
    names |= {f"ln_final.{part}": (f"ln_final.{part}",) for part in ("weight", "bias")}
    return names | {"projection": ("text_projection",)} | _openai_blocks("transformer", layers)


def _openai_image(layers: int) -> dict[str, tuple[str, ...]]:
    names = {
        "patch_embedding.weight": ("visual.conv1.weight",),
        "class_embedding": ("visual.class_embedding",),
        "positional_embedding": ("visual.positional_embedding",),
        "projection": ("visual.proj",),
    }
    norms = [f"{norm}.{part}" for norm in ("ln_pre", "ln_post") for part in ("weight", "bias")]
    names |= {name: (f"visual.{name}",) for name in norms}
    return names | _openai_blocks("visual.transformer", layers)


def _openai_blocks(prefix: str, layers: int) -> dict[str, tuple[str, ...]]:
    modules = {"ln_1": "ln_1.", "qkv": "attn.in_proj_", "out": "attn.out_proj.", "ln_2": "ln_2.",
               "fc": "mlp.c_fc.", "proj": "mlp.c_proj."}  # fmt: skip
    return {
        f"blocks.{i}.{ours}.{part}": (f"{prefix}.resblocks.{i}.{theirs}{part}",)
        for i in range(layers)
        for ours, theirs in modules.items()
        for part in ("weight", "bias")
    }
