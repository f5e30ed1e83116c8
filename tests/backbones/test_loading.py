"""Folders and files to backbones, and every way they can be wrong."""

from __future__ import annotations

import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import save_huggingface, tiny_backbone, tiny_weights
from torch import Tensor, nn

from vlprompt.backbones.loading import choose_precision, load_backbone, quick_precision
from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.backbones.tokenizing import clip_tokenizer
from vlprompt.errors import BackboneError, OptionError

# The tests write what torch still reads: TorchScript, and pickles of a newer protocol than its own.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning", "ignore:Detected pickle protocol"
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_huggingface(tmp_path_factory.mktemp("huggingface"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the saved folder whose config may be changed; the weights are a link."""
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")
    return tmp_path


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def change_weights(folder: Path, edit: Callable[[dict[str, Tensor]], Any]) -> None:
    state = load_file(folder / "model.safetensors")
    edit(state)
    (folder / "model.safetensors").unlink()
    save_file(state, folder / "model.safetensors")


class _Node(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def save_torchscript(path: Path, state: dict[str, Any]) -> Path:
    """As OpenAI released its models: a traced module in half precision, with sizes as buffers."""
    root = _Node()
    for name, value in state.items():
        module: nn.Module = root
        *parents, last = name.split(".")
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, _Node())
            module = getattr(module, parent)
        setattr(module, last, nn.Parameter(torch.as_tensor(value).half()))
    root.register_buffer("input_resolution", torch.tensor(32))
    torch.jit.save(torch.jit.trace(root, torch.zeros(1)), path)
    return path


TEXT = (
    "token_embedding.weight",
    "positional_embedding",
    "text_projection",
    "ln_final.weight",
    "ln_final.bias",
)


class Callback:
    """Something that a trainer pickles beside the weights."""


def checkpoints(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A state dict as common training programs wrap it, by file name; the names say nothing."""

    def named(prefix: str) -> dict[str, torch.Tensor]:
        return {f"{prefix}{name}": tensor for name, tensor in state.items()}

    return {
        "epoch_30.pt": {"epoch": 3, "state_dict": named("module."), "optimizer": {"state": {}}},
        "model_sd.pt": {"model_state_dict": state, "loss": 0.1},
        "model_key.pth": {"model": state, "epoch": torch.tensor(1)},
        "compiled.pt": {"state_dict": named("module._orig_mod.")},
        "nested": {"model": {"state_dict": named("_orig_mod.")}},
        "lightning.ckpt": {"state_dict": named("model."), "callbacks": Callback(), "epoch": 3},
    }


def test_the_same_weights_in_every_file(saved: Path, tmp_path: Path) -> None:
    """The fingerprint sees weights, not files: the generated values survive half precision."""
    state = {name: torch.as_tensor(value) for name, value in tiny_weights().items()}
    torch.save(state, tmp_path / "plain.pt")
    for file, content in checkpoints(state).items():
        torch.save(content, tmp_path / file)
    save_file(state, tmp_path / "openai.safetensors")
    save_file({f"text.{n}" if n in TEXT else n: t for n, t in state.items()}, tmp_path / "newer.bin")
    save_torchscript(tmp_path / "scripted.pt", tiny_weights())
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "config.json").write_bytes((saved / "config.json").read_bytes())
    torch.save(load_file(saved / "model.safetensors"), bin_folder / "pytorch_model.bin")
    half = save_huggingface(tmp_path / "half", dtype=torch.float16)

    expected = tiny_backbone()
    x = torch.randn(2, 3, 32, 32)
    bare = ["plain.pt", *checkpoints({}), "openai.safetensors", "newer.bin"]
    for source in (saved, *bare, "scripted.pt", bin_folder, half):
        with pytest.warns(UserWarning, match="QuickGELU") if source in bare else nullcontext():
            backbone = load_backbone(tmp_path / source)
        assert torch.equal(backbone.image_features(x), expected.image_features(x)), source
        if source != half:  # the logarithm of the scale is rounded
            assert backbone.fingerprint == expected.fingerprint, source
        assert backbone.logit_scale == pytest.approx(expected.logit_scale, rel=1e-3)
        assert all(not tensor.requires_grad for tensor in backbone.text.parameters())


def test_fingerprint_sees_everything(folder: Path) -> None:
    seen = {load_backbone(folder).fingerprint}
    change(
        folder / "config.json",
        vision_config=json.loads((folder / "config.json").read_text())["vision_config"]
        | {"layer_norm_eps": 1e-6},
    )
    seen.add(load_backbone(folder).fingerprint)
    settings = Preprocessing(32, mean=(0.5, 0.5, 0.5)).to_huggingface()
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    backbone = load_backbone(folder)
    assert backbone.preprocessing.mean == (0.5, 0.5, 0.5)
    seen.add(backbone.fingerprint)
    change_weights(folder, lambda state: state["logit_scale"].add_(0.1))
    seen.add(load_backbone(folder).fingerprint)
    change_weights(folder, lambda state: state["vision_model.post_layernorm.bias"][3].add_(1e-6))
    seen.add(load_backbone(folder).fingerprint)
    assert len(seen) == 5


def test_precision_and_device(saved: Path) -> None:
    x = torch.randn(2, 3, 32, 32)
    exact, half = load_backbone(saved), load_backbone(saved, precision="bf16", device="auto")
    assert half.dtype == torch.bfloat16
    assert half.text.ln_final.weight.dtype == half.text.positional_embedding.dtype == torch.float32
    features = half.image_features(x).cpu()
    assert features.dtype == torch.float32
    assert 0 < (features - exact.image_features(x)).abs().max() < 0.02
    assert half.fingerprint == exact.fingerprint
    with pytest.raises(OptionError, match="bf16 or float32"):
        load_backbone(saved, precision="fp16", device="cpu")
    with pytest.raises(OptionError, match='did you mean "float32"'):
        load_backbone(saved, precision="float23")
    with pytest.raises(OptionError, match="known: auto, cpu, cuda, mps"):
        load_backbone(saved, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="not available"):
            load_backbone(saved, device="cuda")


def test_unknown_sources(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match='did you mean "ViT-B/16"'):
        load_backbone("ViT-B16")
    for name in ("ViT-B/61", "vit-b/16", "ViTB/16"):  # these look like ids of the hub
        with pytest.raises(OptionError, match=f'no backbone "{name}": did you mean "ViT-B/16"'):
            load_backbone(name)
    with pytest.raises(OptionError, match="no backbone"):
        load_backbone(tmp_path / "weights.pt")
    with pytest.raises(BackboneError, match="neither config.json"):
        load_backbone(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(BackboneError, match="give the folder"):
        load_backbone(tmp_path / "x.safetensors")


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "blip"}, '"blip", which is none of the families'),
    ({"vision_config": {"hidden_act": "mish"}}, 'hidden_act "mish"'),
    ({"vision_config": {"patch_size": [16, 8]}}, "square"),
    ({"text_config": {"num_attention_heads": 7}}, "7 heads"),
    ({"text_config": {"hidden_size": 32}}, r"positional_embedding has shape \(77, 64\).*\(77, 32\)"),
    ({"text_config": {"num_hidden_layers": 4}}, r"missing 16 tensors .*text_model.encoder.layers.3"),
    ({"vision_config": {"num_hidden_layers": 2}}, r"not known: 16 tensors .*vision_model.encoder.layers.2"),
    ({"vision_config": {"image_size": 64}}, "positional_embedding has shape"),
    ({"vision_config": {"hidden_size": "wide"}}, "cannot be used: .*wide"),
    ({"vision_config": {"patch_size": 0}}, "squares, not .0"),
    ({"text_config": {"num_hidden_layers": 0}}, "0 layers"),
    ({"text_config": {"layer_norm_eps": None}}, "cannot be used"),
    ({"vision_config_dict": 3}, "cannot be used"),
]


@pytest.mark.parametrize(("changes", "words"), CONFIGS, ids=[words for _, words in CONFIGS])
def test_wrong_config(changes: dict[str, Any], words: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    merged = {k: config[k] | v if isinstance(v, dict) else v for k, v in changes.items()}
    change(folder / "config.json", **merged)
    with pytest.raises(BackboneError, match=words) as error:
        load_backbone(folder)
    assert "\n" not in str(error.value)


def test_missing_and_surplus_tensors(folder: Path) -> None:
    change_weights(
        folder, lambda state: state.update({"text_model.embeddings.position_ids": torch.arange(77)})
    )
    load_backbone(folder)
    change_weights(folder, lambda state: state.update({"logit_bias": torch.zeros(1)}))
    with pytest.raises(BackboneError, match="not known: 1 tensors .logit_bias"):
        load_backbone(folder)
    change_weights(
        folder, lambda state: (state.pop("logit_bias"), state.pop("vision_model.pre_layrnorm.bias"))
    )
    with pytest.raises(BackboneError, match="missing 1 tensors .vision_model.pre_layrnorm.bias"):
        load_backbone(folder)


def test_damaged_files(folder: Path, tmp_path: Path) -> None:
    for content in (b"", b"not safetensors at all", (10**12).to_bytes(8, "little") + b"{}"):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(BackboneError, match="cannot read weights"):
            load_backbone(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match="no weights"):
        load_backbone(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(BackboneError, match="config.json"):
        load_backbone(folder)
    (tmp_path / "cut.pt").write_bytes(save_torchscript(tmp_path / "whole.pt", {"a": 1.0}).read_bytes()[:-900])
    with pytest.raises(BackboneError, match="cut.pt"):
        load_backbone(tmp_path / "cut.pt")
    with pytest.raises(BackboneError, match='no tensor "token_embedding.weight"'):
        load_backbone(tmp_path / "whole.pt")


def test_shards_that_are_missing_or_outside(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for shard, words in (("model-1.safetensors", "not there"), ("../x.safetensors", "outside")):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
        with pytest.raises(BackboneError, match=words):
            load_backbone(folder)


class _Canary:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_pickled_code_never_runs(tmp_path: Path) -> None:
    canary = tmp_path / "sings"
    torch.save({"token_embedding.weight": _Canary(canary)}, tmp_path / "plain.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(_Canary(canary)))
    source = save_torchscript(tmp_path / "whole.pt", {"a": 1.0})
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(tmp_path / "scripted.pt", "w") as changed:
        for name in whole.namelist():
            evil = name.endswith("/data.pkl")
            changed.writestr(name, pickle.dumps(_Canary(canary), 2) if evil else whole.read(name))
    for name in ("plain.pt", "old.pt", "scripted.pt"):
        with pytest.raises(BackboneError) as error:
            load_backbone(tmp_path / name)
        assert not canary.exists(), name
        assert "safetensors" in str(error.value), name


def test_tokenizer_choice(saved: Path, folder: Path, tmp_path: Path) -> None:
    assert load_backbone(saved).tokenizer is clip_tokenizer()
    assert load_backbone(saved, tokenizer=clip_tokenizer()).tokenizer is clip_tokenizer()
    with pytest.raises(BackboneError, match="allows 32"):
        load_backbone(saved, tokenizer=clip_tokenizer(32))
    with pytest.raises(BackboneError, match="no tokenizer.json"):
        load_backbone(saved, tokenizer=saved)
    (folder / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(BackboneError, match="vocabulary of its own"):
        load_backbone(folder)


def test_own_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, processors

    weights = {name: torch.as_tensor(value) for name, value in tiny_weights(vocab_size=100).items()}
    torch.save(weights, tmp_path / "small.pt")
    with pytest.raises(BackboneError, match="--tokenizer"), pytest.warns(UserWarning, match="QuickGELU"):
        load_backbone(tmp_path / "small.pt")
    core = Tokenizer(models.WordLevel({"<bos>": 0, "cat": 1, "<eos>": 2, "<unk>": 3}, unk_token="<unk>"))
    core.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 2)]
    )
    core.save(str(tmp_path / "tokenizer.json"))
    for given in (tmp_path, tmp_path / "tokenizer.json"):
        with pytest.warns(UserWarning, match="QuickGELU"):
            backbone = load_backbone(tmp_path / "small.pt", tokenizer=given)
        assert backbone.tokenizer.encode("cat") == [0, 1, 2]
    with pytest.raises(BackboneError, match="belongs to these"), pytest.warns(UserWarning, match="QuickGELU"):
        load_backbone(tmp_path / "small.pt", tokenizer=clip_tokenizer())


def test_a_folder_names_the_one_inside_that_would_do(tmp_path: Path) -> None:
    sentences = tmp_path / "sentences"
    save_huggingface(sentences / "0_CLIPModel")
    (sentences / "modules.json").write_text("[]")
    with pytest.raises(BackboneError, match="0_CLIPModel would do"):
        load_backbone(sentences)
    trainer = tmp_path / "trainer"
    for step in (500, 1000, 90):
        save_huggingface(trainer / f"checkpoint-{step}")
    with pytest.raises(BackboneError, match="checkpoint-1000 would do"):
        load_backbone(trainer)
    (trainer / "config.json").write_text('{"model_type": "vision-text-dual-encoder"}')
    with pytest.raises(BackboneError, match="no weights.*checkpoint-1000 would do"):
        load_backbone(trainer)


@pytest.mark.parametrize(("instructions", "slow"), [("AVX2", True), ("AVX512", False)])
def test_bf16_on_a_processor_that_would_emulate_it_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, instructions: str, slow: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    monkeypatch.setattr("vlprompt.backbones.loading.machine", lambda: "x86_64")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        choose_precision("bf16", torch.device("cpu"))
        choose_precision("float32", torch.device("cpu"))
    assert ["bf16 is slow" in str(one.message) for one in caught] == [True] * slow


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"avx2": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_the_quick_precision_is_bf16_where_the_processor_has_units_for_it(monkeypatch, found, wanted):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert quick_precision("cpu") == wanted
