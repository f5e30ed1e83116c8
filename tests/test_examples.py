"""The examples run as they stand, on the pictures of the package."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the examples are not beside the tests", allow_module_level=True)
pytestmark = pytest.mark.slow


def run(script: str, *words: str) -> None:
    held = sys.argv
    sys.argv = [script, *words]
    try:
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    finally:
        sys.argv = held


def cells() -> list[str]:
    held = json.loads((EXAMPLES / "look_inside.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in held["cells"] if cell["cell_type"] == "code"]


def test_teach_and_predict(capsys, place):
    run("teach_and_predict.py", "photos", "new/1.jpg", "new/missing.jpg")
    said = capsys.readouterr().out
    assert "3 classes" in said and "learned:" in said and "new/1.jpg: " in said
    assert "new/missing.jpg" in said


def test_own_loop_over_methods(capsys, place):
    run("own_loop_over_methods.py", "photos")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["zeroshot", "lamm", "tip_adapter"]
    assert all("over 2 seeds" in line for line in lines)


def test_the_notebook(capsys, place, monkeypatch):
    from PIL import Image

    for file in sorted((place / "photos").rglob("*.png")):  # enough for test pictures of every class
        Image.open(file).rotate(90).save(file.with_name(f"turned{file.name}"))
    space: dict[str, object] = {"__name__": "__main__"}
    for text in cells():
        exec(compile(text.replace('"demo"', '"photos"'), "look_inside.ipynb", "exec"), space)
    assert space["text"].shape[0] == 3 and space["image"].shape[0] == 3
    assert "sure of" in capsys.readouterr().out or not space["wrong"]


def test_the_notebook_holds_no_output_of_anybodys_machine():
    held = json.loads((EXAMPLES / "look_inside.ipynb").read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in held["cells"])


def test_every_example_is_named_on_their_page():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for file in EXAMPLES.iterdir():
        assert file.name == "README.md" or file.name.startswith("__") or f"({file.name})" in page
