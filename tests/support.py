"""A tiny CLIP with random weights; text width, image width and embedding size all differ."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from vlprompt.clip.assembling import build_backbone
from vlprompt.clip.backbone import Backbone
from vlprompt.clip.tokenizing import clip_tokenizer

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
