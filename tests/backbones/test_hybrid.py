"""Hybrid towers and the layout of the embedded backbone, against its description in plain arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from small_towers import TEXT_FORMS, embedded_kind, small_hybrid, small_text
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from vlprompt.backbones.loading import load_backbone
from vlprompt.errors import BackboneError
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.interpreters.plain import Plain
from vlprompt.prompts.tokens import ImagePrompt

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "photo", "of", "cat", "dog", "x", "##s", "."]


def wordpiece(folder: Path) -> None:
    core = Tokenizer(models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    core.save(str(folder / "tokenizer.json"))


def saved(folder: Path, hidden: bool = True, **changes: Any) -> tuple[Path, dict[str, Tensor]]:
    """A small folder in the layout, with its table in 8 bits; and its tensors as they are read, in float32."""
    image = small_hybrid()
    form = TEXT_FORMS["bert, mean"]
    text = small_text(form, context=16)
    state = {f"image.{n}": t for n, t in image.state_dict().items()}
    names = {"projection_bias": "projection.bias", "projection": "projection.weight"}
    for name, tensor in text.state_dict().items():
        name = name.replace("head.1.", "hidden.")
        if name == "token_embedding.weight":
            tensor = tensor[: len(WORDS)]
        if name == "projection":
            tensor = tensor.T
        state[f"text.{names.get(name, name)}"] = tensor
    if not hidden:
        state = {n: t for n, t in state.items() if "hidden" not in n}
        state["text.projection.weight"] = torch.randn(96, 64) * 0.1
    stored = {n: t.half().contiguous() for n, t in state.items()}
    table = "text.token_embedding.weight"
    scale = (state[table].abs().amax(dim=1) / 127).half()
    stored[table] = (state[table] / scale.float()[:, None]).round().to(torch.int8)
    stored[f"{table}.scale"] = scale
    read = {n: t.float() for n, t in stored.items() if not n.endswith(".scale")}
    read[table] = stored[table].float() * scale.float()[:, None]
    stem = image.sizes.stem
    common = {"width": 96, "layers": 3, "heads": 3, "mlp_width": 80, "activation": "gelu", "eps": 1e-5}
    config = {
        "format": "vlprompt-hybrid-clip",
        "version": 1,
        "embed_dim": 96,
        "logit_scale": 20.0,
        "image": common
        | {
            "kind": "hybrid",
            "norm": "pre",
            "pooling": "class token",
            "size": 24,
            "stem": {
                "kind": "mobile inverted bottlenecks",
                "activation": "relu6",
                "reduction": 8,
                "first": {"outputs": 6, "kernel": 3, "stride": 2, "padding": [0, 1]},
                "blocks": [vars(one) | {"padding": list(one.padding)} for one in stem.blocks],
                "last": {"inputs": 10, "outputs": 20},
            },
        },
        "text": {
            "kind": "bert",
            "norm": "post",
            "pooling": "mean",
            "causal": False,
            "vocabulary": len(WORDS),
            "context_length": 16,
            "width": 64,
            "layers": 3,
            "heads": 2,
            "mlp_width": 96,
            "activation": "gelu",
            "eps": 1e-5,
            "hidden": 40 if hidden else None,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | changes))
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {"size": {"shortest_edge": 24}, "crop_size": 24, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        )
    )
    save_file(stored, folder / "model.safetensors")
    wordpiece(folder)
    return folder, read


def attention(x: Tensor, w: dict[str, Tensor], at: str, heads: int) -> Tensor:
    parts = (x @ w[f"{at}.qkv.weight"].T + w[f"{at}.qkv.bias"]).chunk(3, -1)
    q, k, v = (p.unflatten(-1, (heads, -1)).transpose(1, 2) for p in parts)
    found = ((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5).softmax(-1) @ v
    return found.transpose(1, 2).flatten(2) @ w[f"{at}.out.weight"].T + w[f"{at}.out.bias"]


def network(x: Tensor, w: dict[str, Tensor], at: str) -> Tensor:
    hidden = F.gelu(x @ w[f"{at}.fc.weight"].T + w[f"{at}.fc.bias"])
    return hidden @ w[f"{at}.proj.weight"].T + w[f"{at}.proj.bias"]


def norm(x: Tensor, w: dict[str, Tensor], at: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{at}.weight"], w[f"{at}.bias"], 1e-5)


def image_reference(w: dict[str, Tensor], pixels: Tensor) -> Tensor:
    def convolve(
        x: Tensor, at: str, stride: int = 1, pad: tuple[int, int] = (0, 0), groups: int = 1
    ) -> Tensor:
        x = F.pad(x, (*pad, *pad))
        return F.conv2d(x, w[f"{at}.weight"], w[f"{at}.bias"], stride, groups=groups)

    x = F.relu6(convolve(pixels, "image.stem.first", 2, (0, 1)))
    for i, (stride, pad, residual) in enumerate([(2, (0, 1), False), (1, (1, 1), True), (2, (2, 2), False)]):
        at, y = f"image.stem.blocks.{i}", x
        if f"{at}.expand.weight" in w:
            y = F.relu6(convolve(y, f"{at}.expand"))
        y = F.relu6(convolve(y, f"{at}.depthwise", stride, pad, y.shape[1]))
        y = convolve(y, f"{at}.project")
        x = x + y if residual else y
    grid = F.relu6(convolve(x, "image.stem.last")).flatten(2).transpose(1, 2)
    t = grid @ w["image.grid.weight"].T + w["image.grid.bias"]
    x = torch.cat([t.mean(1, keepdim=True) + w["image.class_embedding"], t], 1)
    x = x + w["image.positional_embedding"]
    for i in range(3):
        at = f"image.blocks.{i}"
        x = x + attention(norm(x, w, f"{at}.ln_1"), w, at, 3)
        x = x + network(norm(x, w, f"{at}.ln_2"), w, at)
    return F.normalize(x[:, 0], dim=-1)


def text_reference(w: dict[str, Tensor], ids: list[int]) -> Tensor:
    x = w["text.token_embedding.weight"][ids] + w["text.positional_embedding"][: len(ids)]
    x = norm(x, w, "text.ln_embedding")[None]
    for i in range(3):
        at = f"text.blocks.{i}"
        x = norm(x + attention(x, w, at, 2), w, f"{at}.ln_1")
        x = norm(x + network(x, w, at), w, f"{at}.ln_2")
    s = x.mean(1)
    if "text.hidden.weight" in w:
        s = (F.normalize(s, dim=-1) @ w["text.hidden.weight"].T + w["text.hidden.bias"]).exp()
    return F.normalize(s @ w["text.projection.weight"].T + w["text.projection.bias"], dim=-1)


@pytest.mark.parametrize("hidden", [True, False])
def test_features_are_those_of_the_description(tmp_path: Path, hidden: bool) -> None:
    folder, weights = saved(tmp_path, hidden)
    backbone = load_backbone(folder)
    pixels = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        backbone.image_features(pixels), image_reference(weights, pixels), atol=1e-5, rtol=0
    )
    texts = ["a photo of a cat", "dogs.", "x"]
    assert backbone.tokenizer.encode("Dogs.") == [2, 8, 10, 11, 3]
    expected = torch.cat([text_reference(weights, backbone.tokenizer.encode(t)) for t in texts])
    torch.testing.assert_close(backbone.text_features(texts), expected, atol=1e-5, rtol=0)
    assert set(backbone.tokenizer.whole_words().values()) == {"photo", "of", "cat", "dog"}


def test_bf16_keeps_the_head_in_float32(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path)
    full = load_backbone(folder)
    half = load_backbone(folder).to("cpu", torch.bfloat16)
    assert half.text.projection.dtype == half.text.head[1].weight.dtype == torch.float32
    assert half.dtype == half.image.stem.first.weight.dtype == torch.bfloat16
    pixels = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    for one, other in (
        (full.text_features(["cat"]), half.text_features(["cat"])),
        (full.image_features(pixels), half.image_features(pixels)),
    ):
        assert ((one * other).sum(-1) > 0.99).all()


def test_prompts_on_the_stems_outputs_are_those_on_pixels() -> None:
    backbone = embedded_kind()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, 24, 24, generator=generator)
    tokens = (torch.randn(2, 96, generator=generator) * 0.3).requires_grad_()
    prompt = ImagePrompt(tokens, [tokens * 2])
    for kind in (Fast, Plain):
        interpreter = kind(backbone)
        expected = interpreter.image(pixels, prompt)
        found = interpreter.image(backbone.stem(pixels), prompt)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert backbone.stem(pixels).shape == (2, 9, 20) and backbone.stem_numbers == 180


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "version 2"),
    ({"text": {"kind": "t5"}}, "text.kind is 't5'"),
    ({"image": {"kind": "hybrid", "norm": "post"}}, "image.norm is 'post'"),
    ({"logit_scale": "warm"}, "cannot be used"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=[words for _, words in WRONG])
def test_other_folders_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    folder, _ = saved(tmp_path, **changes)
    with pytest.raises(BackboneError, match=words):
        load_backbone(folder)
