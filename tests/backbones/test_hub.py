"""Hub ids, against a hub on this computer; each in a process of its own, where the address is set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import Hub, serve
from safetensors.torch import load_file, save_file
from support import save_huggingface, tiny_backbone

TELL = """
import json, sys
from vlprompt.backbones.loading import load_backbone
from vlprompt.errors import VlpromptError
for source in sys.argv[1:]:
    source, _, revision = source.partition("@")
    try:
        print(json.dumps(load_backbone(source, revision=revision or None).fingerprint))
    except VlpromptError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def ask(home: Path, url: str, *sources: str, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    settings = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "*",
    }
    done = subprocess.run(
        [sys.executable, "-c", TELL, *sources],
        env=kept | settings | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_huggingface(tmp_path_factory.mktemp("model"))
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    (folder / "flax_model.msgpack").write_bytes(b"never fetched")
    return folder


@pytest.fixture(scope="module")
def sharded(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "config.json").write_bytes((model / "config.json").read_bytes())
    state = load_file(model / "model.safetensors")
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, kept in shards.items():
        save_file({name: state[name] for name in kept}, folder / shard)
    index = {"weight_map": {name: shard for shard, kept in shards.items() for name in kept}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_fetched_once_then_offline(model: Path, sharded: Path, tmp_path: Path) -> None:
    expected = tiny_backbone().fingerprint
    models = {"someone/tiny-clip": model, "someone/sharded": sharded}
    sources = [
        "someone/tiny-clip",
        "someone/tiny-clip",
        "someone/sharded",
        "someone/gated",
        "someone/nothing",
    ]
    with serve(Hub(models, gated=("someone/gated",))) as hub:
        *loaded, gated, absent = ask(tmp_path, hub.url, *sources)
    assert loaded == [expected] * 3
    assert sorted(hub.asked) == [
        "config.json",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors",
        "model.safetensors.index.json",
    ]
    assert gated.startswith("BackboneError") and "hf auth login" in gated and "\n" not in gated
    assert absent.startswith("BackboneError") and "someone/nothing" in absent and "\n" not in absent

    # The hub has gone: what was fetched still loads, with and without being told to stay offline.
    for environment in ({"HF_HUB_OFFLINE": "1"}, {}):
        cached, other = ask(tmp_path, hub.url, "someone/tiny-clip", "someone/other", **environment)
        assert cached == expected
        assert other.startswith("BackboneError") and "someone/other" in other and "\n" not in other
        assert "embedded" in other, "the way that needs no hub"
