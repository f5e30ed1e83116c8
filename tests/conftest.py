"""One thread per test process: the models are tiny, and processes run side by side."""

import os
from pathlib import Path

import pytest
from quick_tests import (  # noqa: F401  hooks
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_runtest_protocol,
    pytest_runtest_setup,
    pytest_sessionfinish,
)

os.environ.setdefault("OMP_NUM_THREADS", "1")

COLOURS = {"red_apple": (200, 30, 30), "green_pear": (60, 170, 60), "plum": (110, 40, 140)}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What documented commands are run in: a folder with `photos/` and `new/`, which is the current one.

    On the embedded backbone, or a tiny one where there is none.
    """
    from PIL import Image, ImageDraw
    from support import save_huggingface

    from vlprompt.backbones import loading, locating

    for number, (name, colour) in enumerate(COLOURS.items()):
        for i in range(8):
            picture = Image.new("RGB", (40, 36), (230, 230 - 5 * i, 220))
            ImageDraw.Draw(picture).ellipse((4 + i, 4, 32, 30 - number), fill=colour)
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            picture.save(tmp_path / "photos" / name / f"{i}.png")
            if i < 2 and number == 0:
                (tmp_path / "new").mkdir(exist_ok=True)
                # at this size a JPEG with a quarter of the colours is another picture
                picture.save(tmp_path / "new" / f"{i + 1}.jpg", quality=95, subsampling=0)
    if not (Path(locating.__file__).parents[1] / "assets" / "embedded" / "config.json").is_file():
        tiny = save_huggingface(tmp_path / "backbone")

        def locate(source: str | Path, revision: str | None = None) -> Path:
            return tiny if str(source) == "embedded" else locating.locate(source, revision)

        monkeypatch.setattr(loading, "locate", locate)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    return tmp_path
