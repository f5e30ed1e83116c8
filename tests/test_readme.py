"""The README's commands and Python, run on a few small pictures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vlprompt.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LONG = ("vlprompt demo",)  # tested elsewhere


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    lines = [line.strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("vlprompt ") and line not in LONG]


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
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_first_command_is_the_makefile() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for target in re.findall(r"`?make (\w+)`?", README):
        if target not in ("is", "one"):
            assert target in targets, target
