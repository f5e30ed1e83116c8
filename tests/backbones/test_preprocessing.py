from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlprompt.backbones.preprocessing import CLIP_MEAN, Preprocessing
from vlprompt.errors import BackboneError

PARITY = Path(__file__).parents[1] / "parity"
RECORDED = json.loads((PARITY / "preprocess.json").read_text())


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: case["name"])
def test_recorded(case: dict) -> None:
    preprocessing = Preprocessing(case["n"], tuple(RECORDED["mean"]), tuple(RECORDED["std"]))
    with np.load(PARITY / "preprocess.npz") as arrays:
        picture = Image.fromarray(arrays[f"{case['name']}.picture"])
        cropped, expected = arrays[f"{case['name']}.cropped_uint8"], arrays[f"{case['name']}.expected"]
    assert np.array_equal(np.asarray(preprocessing.crop(picture)), cropped)
    assert np.abs(preprocessing(picture) - expected).max() <= RECORDED["atol"]
    assert np.array_equal(preprocessing.normalize(cropped), preprocessing(picture))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_any_mode(mode: str) -> None:
    result = Preprocessing(8)(Image.new(mode, (20, 13)))
    assert result.shape == (3, 8, 8)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()


def test_squash_and_longer_resize() -> None:
    picture = Image.fromarray(np.arange(20 * 10 * 3, dtype=np.uint8).reshape(20, 10, 3))
    assert Preprocessing(8, resize="squash").crop(picture).tobytes() == picture.resize((8, 8), 3).tobytes()
    larger = picture.resize((10, 20), 3).crop((1, 6, 9, 14))
    assert Preprocessing(8, shorter=10).crop(picture).tobytes() == larger.tobytes()


def test_batches() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    one_by_one = np.stack([Preprocessing(8).normalize(picture) for picture in batch])
    assert np.array_equal(Preprocessing(8).normalize(batch), one_by_one)


SETTINGS = [
    Preprocessing(),
    Preprocessing(64, (0.5, 0.5, 0.5), (0.2, 0.3, 0.4), "bilinear"),
    Preprocessing(32, resize="squash"),
    Preprocessing(32, shorter=48),
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_round_trips(setting: Preprocessing) -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(setting.to_dict()))) == setting
    assert Preprocessing.from_huggingface(json.loads(json.dumps(setting.to_huggingface()))) == setting


def test_older_huggingface_form() -> None:
    config = {"crop_size": 224, "do_center_crop": True, "do_resize": True, "resample": 3, "size": 224}
    assert Preprocessing.from_huggingface(config) == Preprocessing()


@pytest.mark.parametrize("setting", SETTINGS)
def test_transformers_agrees(setting: Preprocessing) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    try:
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Processor
    except ImportError:
        from transformers import CLIPImageProcessor as Processor
    # Twice as wide as high, so that no margin is odd: they put an odd pixel on the other side.
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (70, 140, 3), dtype=np.uint8))
    config = {k: v for k, v in setting.to_huggingface().items() if k != "image_processor_type"}
    theirs = Processor(**config)(picture, return_tensors="np")["pixel_values"][0]
    assert np.abs(theirs - setting(picture)).max() < 1e-5


def test_open_clip_config() -> None:
    config = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    expected = Preprocessing(96, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), resize="squash")
    assert Preprocessing.from_open_clip(config, size=96) == expected
    assert Preprocessing.from_open_clip({}, size=96) == Preprocessing(96, CLIP_MEAN)


REFUSED: list[tuple[Any, str]] = [
    (lambda: Preprocessing.from_open_clip({"resize_mode": "longest"}), "longest"),
    (lambda: Preprocessing.from_open_clip({"interpolation": "random"}), "random"),
    (lambda: Preprocessing.from_open_clip({"size": [224, 112]}), "square"),
    (lambda: Preprocessing.from_huggingface({"do_normalize": False}), "do_normalize"),
    (lambda: Preprocessing.from_huggingface({"rescale_factor": 1.0}), "rescale_factor"),
    (lambda: Preprocessing.from_huggingface({"size": {"longest_edge": 5}}), "longest_edge"),
    (lambda: Preprocessing(8, mean=(0.5,)), "3 numbers"),  # type: ignore[arg-type]
    (lambda: Preprocessing(8, shorter=4), "crop"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refused(make: Any, words: str) -> None:
    with pytest.raises(BackboneError, match=words):
        make()
