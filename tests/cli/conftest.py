"""Twelve-odd pictures in three classes, the tiny CLIP as a folder, and the command line as a function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from support import save_huggingface

COLOURS = {"red_apple": (200, 30, 30), "green pear": (40, 180, 60), "blue berry": (40, 60, 200)}


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.strip().splitlines()


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_huggingface(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of train/ and test/ with four and two pictures of each class."""
    folder = tmp_path_factory.mktemp("pictures") / "fruit"
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name, colour in COLOURS.items():
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = rng.normal(colour, 30, (40, 48, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))


@pytest.fixture
def vlprompt(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """vlprompt("fit", "photos", ...) -> exit code, stdout, stderr."""
    from vlprompt.cli.main import main

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err or "--debug" in words
        return Said(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def trained(pictures: Path, backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of CoOp + LAMM."""
    from vlprompt.fitting.learning import fit

    folder = tmp_path_factory.mktemp("runs") / "x"
    fit(
        pictures,
        "coop+lamm",
        shots=2,
        backbone=backbone,
        out=folder,
        options={"context_tokens": 2},
        train={"epochs": 3, "batch": 4, "views": 2},
        cache=False,
        command="vlprompt fit fruit",
    )
    return folder
