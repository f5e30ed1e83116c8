"""Folders of weights from elsewhere: a value or one line, soon, whatever their JSON says."""

from __future__ import annotations

import copy
import json
import os
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import save_huggingface, tiny_weights

from vlprompt.backbones.loading import load_backbone
from vlprompt.errors import VlpromptError

SECONDS = 5.0  # of the processor
VALUES = (10**9, 10**18, -1, 0, 0.5, "x", "9" * 5000, None, True, [], [1], {}, {"a": []}, float("nan"), 1e308)
WEIGHTS = "open_clip_model.safetensors"
DEEP = "[" * 100_000
DEEP_ENOUGH = "[" * 500 + "]" * 500


def save_open_clip(folder):
    """The tiny CLIP in open_clip's layout."""
    folder.mkdir()
    save_file(
        {name: torch.as_tensor(value).contiguous() for name, value in tiny_weights().items()},
        folder / WEIGHTS,
    )
    config = {
        "quick_gelu": True,
        "vision_cfg": {"head_width": 64, "norm_kwargs": {"eps": 1e-5}},
        "text_cfg": {"heads": 1, "norm_kwargs": {"eps": 1e-5}},
    }
    cut = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "size": [32, 32]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": cut}))
    return folder


@pytest.fixture
def folder(tmp_path):
    return save_huggingface(tmp_path / "backbone")


def read(folder):
    """Whether it is loaded; only a VlpromptError is another answer, and it comes soon."""
    began = time.process_time()
    try:
        load_backbone(str(folder))
        return True
    except VlpromptError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return False
    finally:
        assert time.process_time() - began < SECONDS


def places(value, path=()):
    """The way to every entry of a JSON object."""
    for key, inner in value.items():
        yield (*path, key)
        if isinstance(inner, dict):
            yield from places(inner, (*path, key))


@pytest.mark.parametrize("kind", ["huggingface", "open_clip"])
def test_sizes_and_settings_of_all_kinds(tmp_path, kind):
    folder = (save_huggingface if kind == "huggingface" else save_open_clip)(tmp_path / "backbone")
    names = [path for path in folder.glob("*.json") if path.name not in ("tokenizer.json", "vocab.json")]
    assert names and read(folder)
    for file in names:
        whole = json.loads(file.read_text())
        for path in places(whole):
            for value in VALUES:
                changed = copy.deepcopy(whole)
                held = changed
                for key in path[:-1]:
                    held = held[key]
                held[path[-1]] = value
                file.write_text(json.dumps(changed))
                read(folder)
        file.write_text(json.dumps(whole))
    assert read(folder)


@pytest.mark.parametrize("text", [DEEP, DEEP_ENOUGH, '{"a":' * 5000, "[]", "3", '"', "", "NaN", "\ud800"])
@pytest.mark.parametrize(
    "name",
    ["config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "vocab.json"],
)
def test_json_without_an_end(folder, name, text):
    if name == "processor_config.json":
        (folder / "preprocessor_config.json").unlink(missing_ok=True)
    if name == "vocab.json":
        (folder / "tokenizer.json").unlink(missing_ok=True)
    (folder / name).write_bytes(text.encode(errors="surrogatepass"))
    assert not read(folder) or name == "vocab.json"


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json"])
def test_pipes_and_devices_in_place_of_json(folder, name):
    for make in (os.mkfifo, lambda path: os.symlink("/dev/zero", path)):
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
        read(folder)


@pytest.mark.parametrize(
    "map",
    [
        {"a": "model.safetensors.index.json"},
        {"a": 3},
        {"a": ["x"]},
        {"a": {"b": 1}},
        {"a": None},
        [],
        3,
        {"a": "../x.safetensors"},
        {"a": "x" * 5000},
        {"a": "none.safetensors"},
        {},
    ],
)
def test_lists_of_weight_files(folder, map):
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "part.safetensors"}}))
    assert read(folder)
    for text in (json.dumps({"weight_map": map}), '{"weight_map": ' + DEEP):
        index.write_text(text)
        assert not read(folder)


def test_tensors_whose_names_count_without_end(tmp_path):
    folder = save_open_clip(tmp_path / "backbone")
    file = next(folder.glob("*.safetensors"))
    state = load_file(file)
    for name in (
        "transformer.resblocks.999999999.ln_1.weight",
        "visual.transformer.resblocks.999999999.ln_1.weight",
    ):
        save_file(state | {name: torch.ones(3)}, file)
        assert not read(folder)
    shutil.rmtree(folder)
