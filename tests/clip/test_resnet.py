"""A ResNet backbone loads, gives features, and refuses what needs a transformer."""

from __future__ import annotations

import pytest
import torch
from support import tiny_weights

from vlprompt.clip.assembling import build_backbone
from vlprompt.clip.resnet import ResNetSizes, ResNetTower
from vlprompt.clip.tokenizing import clip_tokenizer
from vlprompt.errors import BackboneError


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tower = ResNetTower(ResNetSizes(16, (1, 2, 1, 1), 8, 64), embed_dim=96)
    torch.nn.init.normal_(tower.attnpool.positional_embedding, std=0.05)
    text = {n: torch.as_tensor(t) for n, t in tiny_weights().items() if not n.startswith("visual.")}
    return text | {f"visual.{n}": t for n, t in tower.state_dict().items()}


def test_features(state: dict[str, torch.Tensor]) -> None:
    backbone = build_backbone(state, clip_tokenizer(), name="tiny resnet")
    x = torch.randn(3, 3, 64, 64)
    features = backbone.image_features(x)
    assert features.shape == (3, 96)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    assert backbone.preprocessing.size == 64
    half = build_backbone(state, clip_tokenizer()).to("cpu", torch.bfloat16).image_features(x)
    assert half.dtype == torch.float32
    assert 0 < (half - features).abs().max() < 0.02


def test_visual_prompts_are_refused(state: dict[str, torch.Tensor]) -> None:
    backbone = build_backbone(state, clip_tokenizer(), name="tiny resnet")
    with pytest.raises(BackboneError, match='"tiny resnet" has a ResNet image tower'):
        _ = backbone.vit
