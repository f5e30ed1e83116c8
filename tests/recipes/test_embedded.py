"""The embedded backbone's folder, as `transformers` sees it."""

import json
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "src" / "vlprompt" / "assets" / "embedded"
transformers = pytest.importorskip("transformers", reason="transformers, a test extra, is not installed")
pytestmark = pytest.mark.skipif(
    not (FOLDER / "model.safetensors").exists(), reason="no embedded backbone here"
)


@pytest.fixture(scope="module")
def model():
    return transformers.CLIPModel.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(FOLDER)


def test_weights_are_fp16_and_small():
    from safetensors import safe_open

    file = FOLDER / "model.safetensors"
    assert file.stat().st_size <= 24_000_000
    with safe_open(file, "pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118 (not a mapping)
            value = tensors.get_tensor(name)
            assert value.dtype == torch.float16
            assert value.isfinite().all()


def test_every_weight_is_used():
    _, report = transformers.CLIPModel.from_pretrained(FOLDER, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_image_features_are_finite_and_differ(model):
    size = json.loads((FOLDER / "preprocessor_config.json").read_text())["crop_size"]["height"]
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model.visual_projection(model.vision_model(pixel_values=images).pooler_output)
    assert features.shape == (3, model.config.projection_dim)
    assert features.isfinite().all()
    assert features.std(0).max() > 0


def test_text_features_know_what_is_alike(model, tokenizer):
    texts = ["a photo of a dog.", "a photo of a puppy.", "a photo of a grand piano."]
    with torch.no_grad():
        outputs = model.text_model(**tokenizer(texts, padding=True, return_tensors="pt"))
        dog, puppy, piano = torch.nn.functional.normalize(model.text_projection(outputs.pooler_output), dim=1)
    assert dog @ puppy > dog @ piano


def test_logit_scale_is_in_clips_range(model):
    assert 20 <= model.logit_scale.exp().item() <= 101


def test_text_is_read_at_the_first_end_token(model, tokenizer):
    config = model.config.text_config
    assert config.eos_token_id == tokenizer.eos_token_id == config.vocab_size - 1
    assert config.bos_token_id == tokenizer.bos_token_id == config.vocab_size - 2
    short = tokenizer(["a red apple"], return_tensors="pt")["input_ids"]
    padded = tokenizer(["a red apple"], padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        a, b = (model.text_model(input_ids=ids).pooler_output for ids in (short, padded))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("text", ["a photo of a french horn.", "café au lait", "snowman ☃ 😀", "oat-milk 3"])
def test_tokenizer_round_trip(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[:-1]  # nothing is unknown
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    assert decoded.replace(" ", "") == text.replace(" ", "")


def test_tokenizer_ignores_case(tokenizer):
    assert tokenizer("French Horn")["input_ids"] == tokenizer("french horn")["input_ids"]
