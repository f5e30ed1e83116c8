"""Features equal those of transformers and open_clip, with random weights, through saved folders.

VLPROMPT_DIFFERENCES=differences.csv names a file to which every comparison adds its test and the largest difference.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peers import import_open_clip
from safetensors.torch import save_file
from torch import Tensor, nn

from vlprompt.backbones.assembling import build_towers
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.loading import load_backbone
from vlprompt.backbones.weights.open_clip import from_open_clip, refuse_unknown_open_clip

TEXTS = ["a photo of a cat.", "a", "", "x-ray fish, an animal that looks through things!"]


def text_features(backbone: Backbone, texts: list[str]) -> Tensor:
    features = []
    for text in texts:
        ids = backbone.tokenizer.encode(text)
        x = backbone.text.embed(torch.tensor([ids])) + backbone.text.positional_embedding[: len(ids)]
        for block in backbone.text.blocks:
            x = block(x, causal=True)
        features.append(backbone.text.read_out(x[:, backbone.tokenizer.end_position(ids)]))
    return torch.cat(features)


def padded(backbone: Backbone, texts: list[str], pad: int = 0) -> Tensor:
    rows = backbone.tokenizer.encode_many(texts)
    return torch.tensor([row + [pad] * (backbone.tokenizer.context_length - len(row)) for row in rows])


def pixels(size: int) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def shake(model: nn.Module, seed: int = 0) -> None:
    """Random weights large enough that a wrong activation, epsilon or head count shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point() or name == "logit_scale":
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(1 + 0.1 * noise.abs())
        elif tensor.ndim > 1:
            tensor.copy_(noise * (0.05 if "embedding" in name else 1.5 * tensor[0].numel() ** -0.5))
        elif name.endswith("weight"):
            tensor.copy_(1 + 0.1 * noise)
        else:
            tensor.copy_(0.1 * noise)


def close(ours: Tensor, theirs: Tensor) -> None:
    theirs = theirs / theirs.norm(dim=-1, keepdim=True)
    if place := os.environ.get("VLPROMPT_DIFFERENCES"):
        test = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].partition(" ")[0]
        with open(place, "a", encoding="utf-8") as file:
            file.write(f'"{test}",{float((ours - theirs).abs().max()):.1e}\n')
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-4, rtol=0)


HUGGINGFACE: dict[str, dict[str, Any]] = {
    "quick_gelu": {},
    "gelu": {"hidden_act": "gelu"},
    "other epsilon": {"layer_norm_eps": 1e-2},
    "32 wide heads": {"num_attention_heads": 4},
    "end is the highest id": {"eos_token_id": 2},
}


@pytest.mark.parametrize("changes", HUGGINGFACE.values(), ids=HUGGINGFACE)
def test_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    vision_changes = {k: v for k, v in changes.items() if k != "eos_token_id"}
    text = {
        "hidden_size": 64,
        "intermediate_size": 200,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 49408,
        "eos_token_id": 49407,
        "bos_token_id": 49406,
        **changes,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 300,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        **vision_changes,
    }
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=96)
    model = transformers.CLIPModel(config).eval()
    shake(model)
    model.save_pretrained(tmp_path)

    backbone = load_backbone(tmp_path)
    x = pixels(32)
    ids = padded(backbone, TEXTS, pad=49407 if "eos_token_id" not in changes else 0)
    with torch.no_grad():
        theirs = model(input_ids=ids, pixel_values=x)
    close(backbone.image_features(x), theirs.image_embeds)
    close(text_features(backbone, TEXTS), theirs.text_embeds)
    ours = backbone.logit_scale * backbone.image_features(x) @ text_features(backbone, TEXTS).T
    torch.testing.assert_close(ours, theirs.logits_per_image, atol=1e-3, rtol=0)


VIT = {"layers": 2, "width": 128, "head_width": 64, "patch_size": 16, "image_size": 48}
OPEN_CLIP: dict[str, dict[str, Any]] = {
    "vit, quick_gelu": {"quick_gelu": True, "vision_cfg": VIT},
    "vit, gelu": {"vision_cfg": VIT},
    "vit, 32 wide heads, wide mlp": {"vision_cfg": VIT | {"head_width": 32, "mlp_ratio": 4.9231}},
    "vit, epsilon": {"vision_cfg": VIT | {"norm_kwargs": {"eps": 1e-2}}},
    "vit, text tower apart": {"vision_cfg": VIT, "custom_text": True},
    "resnet": {"vision_cfg": {"layers": [2, 1, 1, 2], "width": 16, "image_size": 64, "patch_size": None}},
}


@pytest.mark.parametrize("changes", OPEN_CLIP.values(), ids=OPEN_CLIP)
def test_open_clip(changes: dict[str, Any], tmp_path: Path) -> None:
    peer = import_open_clip()
    config = {
        "embed_dim": 96,
        "text_cfg": {"width": 64, "heads": 4, "layers": 2, "vocab_size": 49408},
    } | changes
    arguments = {name: value for name, value in config.items() if name != "custom_text"}
    model = (peer.CustomTextCLIP if config.get("custom_text") else peer.CLIP)(**arguments).eval()
    shake(model)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(
        {n: t.contiguous() for n, t in model.state_dict().items()}, tmp_path / "open_clip_model.safetensors"
    )

    backbone = load_backbone(tmp_path)
    x = pixels(backbone.preprocessing.size)
    with torch.no_grad():
        close(backbone.image_features(x), model.encode_image(x))
        close(text_features(backbone, TEXTS), model.encode_text(padded(backbone, TEXTS)))


def test_every_architecture_of_open_clip() -> None:
    """Each of its model files is read with the right names and shapes, or refused by name.

    Variants of a size in another resolution or activation are left out, for time; so are towers that other packages
    make, which have tests of their own (tests/backbones/test_families.py).
    """
    peer = import_open_clip()
    from open_clip.coca_model import CoCa

    read = []
    files = sorted((Path(peer.__file__).parent / "model_configs").glob("*.json"))
    for file in (file for file in files if not re.search(r"quickgelu|plus|alt|-\d\d\d|x16|e-14", file.stem)):
        config = json.loads(file.read_text())
        if config["vision_cfg"].get("timm_model_name") or config["text_cfg"].get("hf_model_name"):
            refuse_unknown_open_clip(config)
            continue
        with torch.device("meta"):
            names = {name: value for name, value in config.items() if name != "custom_text"}
            if "multimodal_cfg" in config:
                model = CoCa(**names)
            else:
                model = (peer.CustomTextCLIP if config.get("custom_text") else peer.CLIP)(**names)
        state = {n: torch.zeros(()) if n == "logit_bias" else t for n, t in model.state_dict().items()}
        weights = from_open_clip(state | {"logit_scale": torch.zeros(())}, config)
        assert weights.embed_dim == config["embed_dim"]
        assert weights.text_sizes.heads == config["text_cfg"]["heads"]
        build_towers(weights)
        read.append(file.stem)
    expected = {"RN50", "RN101", "RN50x64", "ViT-B-16", "ViT-L-14", "ViT-H-14", "ViT-bigG-14"}
    assert expected | {"ViT-L-14-CLIPA", "coca_ViT-B-32", "coca_ViT-L-14"} <= set(read)
