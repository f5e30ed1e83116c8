"""The README's commands and Python, run on a few small pictures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from support import save_huggingface

from vlprompt.cli.main import main
from vlprompt.clip import loading, locating

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COLOURS = {"red_apple": (200, 30, 30), "green_pear": (60, 170, 60), "plum": (110, 40, 140)}
LONG = ("vlprompt demo",)  # tested elsewhere
EMBEDDED = ROOT / "src" / "vlprompt" / "assets" / "embedded" / "config.json"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    lines = [line.strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("vlprompt ") and line not in LONG]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `photos/` and `new/`; the embedded backbone, or a tiny one where there is none."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        for i in range(8):
            picture = Image.new("RGB", (40, 36), (230, 230 - 5 * i, 220))
            ImageDraw.Draw(picture).ellipse((4 + i, 4, 32, 30 - number), fill=colour)
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            picture.save(tmp_path / "photos" / name / f"{i}.png")
            if i < 2 and number == 0:
                (tmp_path / "new").mkdir(exist_ok=True)
                picture.save(tmp_path / "new" / f"{i + 1}.jpg")
    if not EMBEDDED.is_file():
        tiny = save_huggingface(tmp_path / "backbone")

        def locate(source: str | Path, revision: str | None = None) -> Path:
            return tiny if str(source) == "embedded" else locating.locate(source, revision)

        monkeypatch.setattr(loading, "locate", locate)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_commands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = commands()
    assert len(lines) >= 8
    for line in lines:
        code = main(shlex.split(line)[1:])
        shown = capsys.readouterr()
        assert code == 0, f"{line}\n{shown.out}\n{shown.err}"
    assert (place / "runs" / "photos" / "report.html").stat().st_size > 1000
    assert "| coop |" in shown.out or "| CoOp |" in shown.out, shown.out  # the table comes last


def test_python(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks("python")
    assert found
    for code in found:
        exec(compile(code, "README.md", "exec"), {})
    assert (place / "runs" / "mine" / "run.json").is_file()
    assert capsys.readouterr().out


def test_links_and_pictures_are_there() -> None:
    """Every relative link of the documentation leads to a file."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_first_command_is_the_makefile() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for target in re.findall(r"`?make (\w+)`?", README):
        if target not in ("is", "one"):
            assert target in targets, target
