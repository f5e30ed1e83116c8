"""A ResNet backbone loads, gives features, and refuses what needs a transformer."""

from __future__ import annotations

import pytest
import torch
from support import tiny_resnet

from vlprompt.errors import BackboneError


def test_features() -> None:
    backbone = tiny_resnet()
    x = torch.randn(3, 3, 64, 64)
    features = backbone.image_features(x)
    assert features.shape == (3, 96)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    assert backbone.preprocessing.size == 64
    half = tiny_resnet().to("cpu", torch.bfloat16).image_features(x)
    assert half.dtype == torch.float32
    assert 0 < (half - features).abs().max() < 0.02


def test_visual_prompts_are_refused() -> None:
    backbone = tiny_resnet()
    with pytest.raises(BackboneError, match='"tiny resnet" has a ResNet image tower'):
        _ = backbone.vit
