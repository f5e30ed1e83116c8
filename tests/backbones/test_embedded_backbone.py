"""The backbone that comes with the package: whole, small, and the same model to transformers."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vlprompt.backbones.loading import load_backbone

FOLDER = Path(str(files("vlprompt") / "assets" / "embedded"))
pytestmark = pytest.mark.skipif(
    not (FOLDER / "config.json").is_file(), reason="not built yet: recipes/embedded"
)
NAMES = ["a photo of a cat.", "a photo of a Granny Smith.", "x-ray fish", "caf\u00e9 & bar"]


def test_size() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir() if file.is_file()) < 26e6
    assert (FOLDER / "model.safetensors").stat().st_size <= 24 * 2**20


def test_transformers_agrees() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    peer = transformers.CLIPModel.from_pretrained(FOLDER, dtype=torch.float32).eval()
    ids = transformers.AutoTokenizer.from_pretrained(FOLDER)(NAMES, padding="max_length", max_length=77)[
        "input_ids"
    ]
    backbone = load_backbone("embedded")
    for row, name in zip(ids, NAMES, strict=True):
        ours = backbone.tokenizer.encode(name)
        assert row[: len(ours)] == ours
    pixels = torch.randn(2, 3, backbone.preprocessing.size, backbone.preprocessing.size)
    with torch.no_grad():
        theirs = peer(input_ids=torch.tensor(ids), pixel_values=pixels)
        features = backbone.image_features(pixels)
        rows = backbone.tokenizer.encode_many(NAMES)
        states = [
            backbone.text.embed(torch.tensor([r])) + backbone.text.positional_embedding[: len(r)]
            for r in rows
        ]
        text = []
        for row, x in zip(rows, states, strict=True):
            for block in backbone.text.blocks:
                x = block(x, causal=True)
            text.append(backbone.text.read_out(x[:, backbone.tokenizer.end_position(row)]))
    torch.testing.assert_close(features, theirs.image_embeds, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cat(text), theirs.text_embeds, atol=1e-4, rtol=0)


def test_it_sees_something() -> None:
    """Two noises are more alike than a noise and a flat picture."""
    backbone = load_backbone("embedded")
    noise = np.random.default_rng(0).integers(0, 256, (2, 90, 90, 3), dtype=np.uint8)
    pictures = [Image.fromarray(noise[0]), Image.fromarray(noise[1]), Image.new("RGB", (90, 90), "navy")]
    pixels = torch.from_numpy(np.stack([backbone.preprocessing(picture) for picture in pictures]))
    first, second, flat = backbone.image_features(pixels)
    assert first @ second > first @ flat
