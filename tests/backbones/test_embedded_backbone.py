"""The backbone that comes with the package: whole, small, and what its recipe says it is."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vlprompt.backbones.loading import load_backbone

FOLDER = Path(str(files("vlprompt") / "assets" / "embedded"))
RECIPE = Path(__file__).parents[2] / "recipes" / "embedded"
NAMES = ["a photo of a cat.", "a photo of a Granny Smith.", "x-ray fish", "café & bar"]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("embedded", device="cpu")


def test_it_is_small_and_keeps_its_licences():
    assert sum(file.stat().st_size for file in FOLDER.iterdir() if file.is_file()) <= 64 * 2**20
    notice = (FOLDER / "NOTICE").read_text(encoding="utf-8")
    assert "MiniLM" in notice and "EfficientNet" in notice
    assert "Apache License" in (FOLDER / "LICENSE").read_text(encoding="utf-8")


def test_weights_are_finite_and_all_small():
    from safetensors import safe_open

    with safe_open(FOLDER / "model.safetensors", "pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118 (not a mapping)
            value = tensors.get_tensor(name)
            assert value.dtype in (torch.float16, torch.int8), name
            assert value.float().isfinite().all(), name


def test_features_are_those_of_the_recipe(backbone, monkeypatch):
    """`recipes/embedded/reading.py` reads the folder into a forward pass of its own in plain torch."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(RECIPE))
    try:
        from reading import Backbone, encoded

        reference = Backbone(FOLDER)
        noise = np.random.default_rng(0).integers(0, 256, (100, 240, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((300, 220), Image.Resampling.BICUBIC)
        theirs, texts = reference.pictures([encoded(picture)]), reference.texts(NAMES)
    finally:
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).parent == RECIPE:
                del sys.modules[name]  # short names such as "texts" must not reach other tests
    ours = backbone.image_features(torch.from_numpy(backbone.preprocessing(picture))[None])
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    torch.testing.assert_close(backbone.text_features(NAMES), texts, atol=1e-4, rtol=0)


def test_it_knows_what_is_alike(backbone):
    dog, puppy, piano = backbone.text_features(["a dog", "a puppy", "a grand piano"])
    assert dog @ puppy > dog @ piano


def test_it_sees_something(backbone):
    """Two noises are more alike than a noise and a flat picture."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 90, 90, 3), dtype=np.uint8)
    pictures = [Image.fromarray(noise[0]), Image.fromarray(noise[1]), Image.new("RGB", (90, 90), "navy")]
    pixels = torch.from_numpy(np.stack([backbone.preprocessing(picture) for picture in pictures]))
    first, second, flat = backbone.image_features(pixels)
    assert first @ second > first @ flat


def test_every_block_of_the_image_tower_is_trained(backbone):
    """A block whose branches are still zero would give no gradient to a prompt."""
    for block in backbone.image.blocks:
        assert block.out.weight.abs().max() > 0 and block.proj.weight.abs().max() > 0


def test_its_facts_stand_in_its_configuration():
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["format"] == "vlprompt-hybrid-clip"
    assert 5 <= config["logit_scale"] <= 101
