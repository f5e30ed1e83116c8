"""A grid over a dozen generated pictures and the tiny CLIP as a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
from small_data import picture_folder
from support import save_huggingface


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pictures/`, with train, val and test, and `backbone/`."""
    folder = tmp_path_factory.mktemp("sweeps")
    picture_folder(folder / "pictures")
    save_huggingface(folder / "backbone")
    return folder


@pytest.fixture
def grid(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The content of a sweep.toml: six quick runs."""
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    return {
        "methods": ["zeroshot", "coop"],
        "data": [str(place / "pictures")],
        "shots": [1],
        "seeds": [1, 2, 3],
        "backbone": str(place / "backbone"),
        "device": "cpu",
        "train": {"epochs": 1, "batch": 4, "views": 1},
        "out": str(tmp_path / "results.jsonl"),
    }
