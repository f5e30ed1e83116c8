"""Sizes read from shapes, for every published size, without their weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import tiny_weights

from vlprompt.backbones.towers.resnet import ResNetSizes, ResNetTower
from vlprompt.backbones.towers.vit import ImageSizes
from vlprompt.backbones.weights.open_clip import from_open_clip, refuse_unknown_open_clip
from vlprompt.backbones.weights.openai_clip import from_openai
from vlprompt.errors import BackboneError

# (width, blocks per stage, heads, pixels, embedding): Radford et al. 2021, table 19
RESNETS = {
    "RN50": (64, (3, 4, 6, 3), 32, 224, 1024),
    "RN101": (64, (3, 4, 23, 3), 32, 224, 512),
    "RN50x4": (80, (4, 6, 10, 6), 40, 288, 640),
    "RN50x16": (96, (6, 8, 18, 8), 48, 384, 768),
    "RN50x64": (128, (3, 15, 36, 10), 64, 448, 1024),
}


def meta_state(image: torch.nn.Module, embed_dim: int) -> dict[str, Any]:
    """OpenAI's layout with tensors that have shapes only."""
    text = {n: torch.as_tensor(t) for n, t in tiny_weights().items() if not n.startswith("visual.")}
    text["text_projection"] = torch.zeros(64, embed_dim)
    return text | {f"visual.{name}": tensor for name, tensor in image.state_dict().items()}


@pytest.mark.parametrize("name", RESNETS)
def test_resnet_sizes(name: str) -> None:
    width, blocks, heads, resolution, embed_dim = RESNETS[name]
    sizes = ResNetSizes(width, blocks, heads, resolution)
    with torch.device("meta"):
        tower = ResNetTower(sizes, embed_dim)
    weights = from_openai(meta_state(tower, embed_dim))
    assert weights.image_sizes == sizes
    assert weights.embed_dim == embed_dim


def test_resnet_50_has_its_published_size() -> None:
    width, blocks, heads, resolution, embed_dim = RESNETS["RN50"]
    with torch.device("meta"):
        tower = ResNetTower(ResNetSizes(width, blocks, heads, resolution), embed_dim)
    assert sum(p.numel() for p in tower.parameters()) == 38_316_896


@pytest.mark.parametrize(
    ("resolution", "patch", "width", "layers"), [(224, 32, 768, 12), (224, 14, 1024, 24), (336, 14, 1024, 24)]
)
def test_vit_sizes(resolution: int, patch: int, width: int, layers: int) -> None:
    block = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "mlp.c_fc.weight": (4 * width, width),
        "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width),
        "mlp.c_proj.bias": (width,),
    }
    block |= {f"{norm}.{part}": (width,) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")}
    shapes: dict[str, tuple[int, ...]] = {
        "class_embedding": (width,),
        "positional_embedding": ((resolution // patch) ** 2 + 1, width),
        "conv1.weight": (width, 3, patch, patch),
        "proj": (width, 96),
        **{f"{norm}.{part}": (width,) for norm in ("ln_pre", "ln_post") for part in ("weight", "bias")},
        **{f"transformer.resblocks.{i}.{n}": shape for i in range(layers) for n, shape in block.items()},
    }
    state = {n: torch.as_tensor(t) for n, t in tiny_weights().items() if not n.startswith("visual.")}
    state |= {f"visual.{name}": torch.empty(shape, device="meta") for name, shape in shapes.items()}
    expected = ImageSizes(width, layers, width // 64, 4 * width, resolution=resolution, patch=patch)
    assert from_openai(state).image_sizes == expected


def test_open_clip_with_an_openai_config() -> None:
    config = {"embed_dim": 96, "quick_gelu": True, "vision_cfg": {}, "text_cfg": {"heads": 1}}
    ours, theirs = from_openai(tiny_weights()), from_open_clip(tiny_weights(), config)
    assert (ours.text_sizes, ours.image_sizes) == (theirs.text_sizes, theirs.image_sizes)
    assert (ours.text.activation, ours.image.activation) == (theirs.text.activation, theirs.image.activation)


OTHER_MODELS: list[tuple[dict[str, Any], str]] = [
    ({"vision_cfg": {"attentional_pool": "parallel"}}, "vision_cfg.attentional_pool"),
    ({"vision_cfg": {"pool_type": "none"}}, "vision_cfg.pool_type"),
    ({"vision_cfg": {"qk_norm": True}}, "vision_cfg.qk_norm"),
    ({"vision_cfg": {"norm_kwargs": {"elementwise_affine": False}}}, "elementwise_affine"),
    ({"vision_cfg": {"act_kwargs": {"approximate": "tan"}}}, "GELU is called 'tan'"),
    ({"text_cfg": {"pool_type": "none"}}, "text_cfg.pool_type"),
    ({"text_cfg": {"use_pad_mask": True}}, "text_cfg.use_pad_mask"),
    ({"text_cfg": {"tokenizer_kwargs": {"tokenizer_mode": "clips"}}}, "tokenizer_mode"),
    ({"vision_cfg": {"something_new": 3}}, "vision_cfg.something_new"),
]


@pytest.mark.parametrize(("config", "words"), OTHER_MODELS, ids=[words for _, words in OTHER_MODELS])
def test_other_open_clip_models_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(BackboneError, match=words):
        refuse_unknown_open_clip(config)


def test_openai_names_missing_and_surplus() -> None:
    state = tiny_weights()
    del state["ln_final.bias"]
    with pytest.raises(BackboneError, match="missing 1 tensors .ln_final.bias"):
        from_openai(state)
    with pytest.raises(BackboneError, match="not known: 1 tensors .logit_bias"):
        from_openai(tiny_weights() | {"logit_bias": torch.zeros(1)})
    with pytest.raises(BackboneError, match="no CLIP layout"):
        from_openai({"x": torch.zeros(1)})
