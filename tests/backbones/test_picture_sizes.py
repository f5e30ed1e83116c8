"""Pictures of another size: positions are interpolated, where the family allows it; runs remember the size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from peers import import_open_clip
from small_data import picture_folder
from support import save_huggingface, tiny_resnet
from test_hybrid import saved

from vlprompt import Run, fit
from vlprompt.backbones.loading import load_backbone
from vlprompt.backbones.picture_sizes import interpolated, resized
from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.backbones.spec import BackboneSpec
from vlprompt.backbones.towers.resnet import ResNetSizes
from vlprompt.backbones.weights.openai_clip import from_openai
from vlprompt.errors import BackboneError


def test_interpolated_as_open_clip_does() -> None:
    import_open_clip()
    import open_clip.model as peer

    held = torch.randn(1 + 49, 24, generator=torch.Generator().manual_seed(0))

    class Visual:
        grid_size = (12, 12)

    class Model:
        visual = Visual()

    state = {"visual.positional_embedding": held.clone()}
    peer.resize_pos_embed(state, Model())
    torch.testing.assert_close(interpolated(held, 1, 12), state["visual.positional_embedding"])
    torch.testing.assert_close(interpolated(held, 1, 7), held, atol=1e-5, rtol=0)


def test_a_larger_picture(tmp_path: Path) -> None:
    folder = save_huggingface(tmp_path)
    own, larger = load_backbone(folder), load_backbone(BackboneSpec(str(folder), "cpu", image_size=64))
    assert (own.patches, larger.patches) == (4, 16)
    assert larger.preprocessing.size == 64 and larger.details["image_size"] == 64
    assert larger.fingerprint != own.fingerprint
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert larger.image_features(x).shape == (2, 96)
    assert torch.equal(own.text_features(["cat"]), larger.text_features(["cat"]))
    assert load_backbone(folder, image_size=32).fingerprint == own.fingerprint
    with pytest.raises(BackboneError, match="40 pixels are no whole number of cells of 16"):
        load_backbone(folder, image_size=40)


def test_a_hybrid_and_a_resnet(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path)
    larger = load_backbone(folder, image_size=40)
    assert larger.patches == 25
    assert larger.image_features(torch.zeros(1, 3, 40, 40)).shape == (1, 96)
    held = tiny_resnet()
    state = {f"visual.{n}": t for n, t in held.image.state_dict().items()}
    text = {n: torch.as_tensor(t) for n, t in text_weights().items()}
    weights, preprocessing = resized(from_openai(state | text), Preprocessing(64), 96)
    assert isinstance(weights.image.sizes, ResNetSizes) and weights.image.sizes.resolution == 96
    assert len(weights.image.tensors["attnpool.positional_embedding"]) == 1 + 9
    assert preprocessing.size == 96


def text_weights() -> dict[str, np.ndarray]:
    from support import tiny_weights

    return {n: t for n, t in tiny_weights().items() if not n.startswith("visual.")}


def test_a_run_remembers_the_size(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"train": 2, "test": 1})
    spec = BackboneSpec(str(save_huggingface(tmp_path / "clip")), "cpu", image_size=48)
    run = fit(data, "zeroshot", backbone=spec, out=tmp_path / "run", cache=False)
    assert run.info.backbone.image_size == 48
    again = Run.load(tmp_path / "run")
    assert again.backbone.preprocessing.size == 48
    assert again.backbone.fingerprint == run.backbone.fingerprint
