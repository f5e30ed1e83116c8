"""What people expect to find around a project is there, and says what is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import vlprompt

ROOT = Path(__file__).parents[1]
PACKAGE = Path(vlprompt.__file__).parent
pytestmark = pytest.mark.skipif(
    not (ROOT / "CONTRIBUTING.md").is_file(), reason="the repository's pages are not beside the tests"
)


def read(name: str) -> str:
    if not (ROOT / name).is_file():
        pytest.skip(f"{name} is in the repository only")
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_map_names_every_room():
    text = read("CONTRIBUTING.md")
    rooms = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    assert rooms and [room for room in rooms if f"`{room}/`" not in text] == []


def test_make_has_the_targets_that_pages_name():
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    pages = [read(name) for name in ("CONTRIBUTING.md", "README.md", "docs/releasing.md")]
    named = {word for text in pages for word in re.findall(r"`?make ([a-z]+)`?", text)} & (
        targets | {"quick", "check", "test", "release", "docs", "demo"}
    )
    assert named <= targets and {"quick", "check", "release"} <= named


def test_hooks_and_workflow_are_well_formed():
    yaml = pytest.importorskip("yaml", reason="no YAML reader is installed")
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    assert {"ruff", "ruff-format", "mypy", "imports"} <= {hook["id"] for hook in hooks}
    for hook in hooks:
        for word in hook["entry"].split():
            if word.endswith(".py"):
                assert (ROOT / word).is_file(), word
    jobs = yaml.safe_load(read(".github/workflows/check.yml"))["jobs"]
    assert any(step.get("run") == ".ci/run" for step in jobs["check"]["steps"])
    for form in ("mistake.yml", "wish.yml"):
        held = yaml.safe_load(read(f".github/ISSUE_TEMPLATE/{form}"))
        assert held["name"] and all(part["attributes"]["label"] for part in held["body"])


def test_the_wheel_check_says_what_is_wrong(tmp_path):
    import zipfile

    script = ROOT / "tools" / "check_wheel.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "expected one *.whl, found 0" in done.stderr
    sys.path.insert(0, str(script.parent))
    try:
        from check_wheel import check_content
    finally:
        sys.path.pop(0)
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as held:
        held.writestr("vlprompt/py.typed", "")
        held.writestr("tests/test_x.py", "")
    wrong = check_content(tmp_path / "x.whl")
    assert "x.whl: tests/test_x.py does not belong there" in wrong
    assert "x.whl: the licence is missing" in wrong and not any("py.typed" in line for line in wrong)


def test_every_file_at_the_top_has_a_test_file():
    tests = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert sorted(name for name in files if f"test_{name}" not in tests) == []
