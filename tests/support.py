"""A tiny CLIP with random weights; text width, image width and embedding size all differ."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from vlprompt.backbones.assembling import build_backbone
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.tokenizing import clip_tokenizer

sys.path.insert(0, str(Path(__file__).parent / "parity"))
from backbone_weights import make_weights

TINY = {
    "image_resolution": 32,
    "patch_size": 16,
    "vision_width": 128,
    "vision_layers": 3,
    "text_width": 64,
    "text_layers": 3,
    "embed_dim": 96,
}


@lru_cache(maxsize=4)
def _weights(seed: int, sizes: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    return make_weights(seed=seed, **dict(sizes))


def tiny_weights(seed: int = 0, **sizes: int) -> dict[str, Any]:
    """State dict in OpenAI's layout, float32 arrays; sizes as in `backbone_weights.make_weights`."""
    return dict(_weights(seed, tuple(sorted((TINY | sizes).items()))))


def tiny_backbone(seed: int = 0, **sizes: int) -> Backbone:
    """CLIP's vocabulary, 77 tokens, text 64 x 3 blocks, image 128 x 3 blocks, 32 pixels, 4 patches."""
    return build_backbone(tiny_weights(seed, **sizes), clip_tokenizer(), name="tiny")


def tiny_resnet() -> Backbone:
    """The tiny CLIP with a ResNet of five blocks as its image tower, 64 pixels."""
    import torch

    from vlprompt.backbones.towers.resnet import ResNetSizes, ResNetTower

    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = ResNetTower(ResNetSizes(16, (1, 2, 1, 1), 8, 64), embed_dim=TINY["embed_dim"])
        torch.nn.init.normal_(tower.attnpool.positional_embedding, std=0.05)
    text = {n: torch.as_tensor(t) for n, t in tiny_weights().items() if not n.startswith("visual.")}
    state = text | {f"visual.{n}": t for n, t in tower.state_dict().items()}
    return build_backbone(state, clip_tokenizer(), name="tiny resnet")


def save_huggingface(folder: Path, seed: int = 0, dtype: Any = None, **config: Any) -> Path:
    """The tiny CLIP as a folder in Hugging Face layout, without the help of transformers."""
    import json

    import torch
    from safetensors.torch import save_file

    from vlprompt.backbones.weights import huggingface_clip as huggingface
    from vlprompt.backbones.weights.openai_clip import from_openai

    weights = from_openai(tiny_weights(seed))
    text, image = weights.text_sizes, weights.image_sizes
    state = {"logit_scale": torch.as_tensor(weights.logit_scale).log()}
    for tower, names in (
        (weights.text, huggingface._text_names(text)),
        (weights.image, huggingface._image_names(image)),
    ):
        for ours, theirs in names.items():
            tensor = tower.tensors[ours].T if ours == "projection" else tower.tensors[ours]
            state |= dict(zip(theirs, tensor.chunk(len(theirs)), strict=True))
    common = {"hidden_act": "quick_gelu"}
    text_config = common | {
        "hidden_size": text.width,
        "intermediate_size": text.mlp_width,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "vocab_size": text.vocabulary,
    }
    vision_config = common | {
        "hidden_size": image.width,
        "intermediate_size": image.mlp_width,
        "num_hidden_layers": image.layers,
        "num_attention_heads": image.heads,
        "image_size": image.resolution,
        "patch_size": image.patch,
    }
    sizes = {"model_type": "clip", "text_config": text_config, "vision_config": vision_config}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(sizes | config))
    save_file(
        {name: tensor.to(dtype or tensor.dtype).contiguous() for name, tensor in state.items()},
        folder / "model.safetensors",
    )
    return folder


def run_info(**more: Any) -> Any:
    """A RunInfo of two classes that learned nothing, with what is given beside."""
    from vlprompt.runs.info import RunInfo

    backbone = {"source": "tiny", "fingerprint": "abc", "precision": "float32"}
    usual = {
        "method": "coop",
        "class_names": ["a", "b"],
        "templates": ["a {}"],
        "task_shots": 1,
        "options": {},
    }
    return RunInfo.from_json(usual | {"backbone": backbone} | more)
