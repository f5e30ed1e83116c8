"""Pictures, runs, caches and homes that a user may not read or write: one line, or work that goes on; never a trace."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from small_data import picture_folder
from support import save_huggingface
from test_other_users import ANN, as_user

from vlprompt.cli.main import main

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can become a user without rights"
)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Pictures, a backbone and a run that everybody may read, and a folder of the user ANN."""
    found = Path(tempfile.mkdtemp(prefix="vlprompt-rights-"))
    found.chmod(0o755)
    picture_folder(found / "pictures")
    for path in save_huggingface(found / "backbone").iterdir():
        path.chmod(0o644)
    (found / "own").mkdir()
    os.chown(found / "own", ANN, ANN)
    # once as root, so that all modules are imported before somebody without rights asks for them
    code, said = command("fit", found / "run", found, found)
    assert code == 0, said
    for name in ("predict", "report", "sort"):
        code, said = command(name, found / "run", found, found / "first")
        assert code == 0, said
    yield found
    shutil.rmtree(found)


def command(name: str, run: Path, place: Path, out: Path) -> tuple[int, str]:
    """Exit code and output of a command; a trace is an error here."""
    test = place / "pictures" / "test"
    several = [str(path) for path in sorted(test.rglob("*.png"))[:4]]
    told = {
        "fit": [place / "pictures", "--method", "coop", "--shots", 2, "--epochs", 1, "--out", run],
        "predict": [run, *several],
        "report": [run, "--quick"],
        "sort": [run, *several, "--out", out],
    }[name]
    said = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
        warnings.simplefilter("default")  # they are notices here
        code = main([name, *map(str, told), "--backbone", str(place / "backbone")])
    return code, said.getvalue()


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def as_ann(place: Path, name: str, run: Path, out: Path, home: Path | None = None) -> tuple[int, str]:
    def job() -> tuple[int, str]:
        os.environ.pop("XDG_CACHE_HOME", None)
        os.environ.pop("VLPROMPT_CACHE", None)
        os.environ["HOME"] = str(home or place / "own")
        return command(name, run, place, out)

    found: tuple[int, str] = as_user(ANN, job)
    assert not isinstance(found, str), found  # an error that nobody has foreseen
    assert "Traceback" not in found[1]
    return found


def last(said: str) -> str:
    return said.strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["fit", "predict", "report", "sort"])
def test_one_picture_that_may_not_be_read(place, name):
    out = place / "own" / f"one-{name}"
    run = out if name == "fit" else place / "own" / "copy"
    if name != "fit" and not run.exists():
        shutil.copytree(place / "run", run)
        for path in (run, *run.rglob("*")):
            os.chown(path, ANN, ANN)
    with mode(sorted((place / "pictures" / "test").rglob("*.png"))[0], 0):
        code, said = as_ann(place, name, run, out)
    assert code == 0 or (name == "sort" and "cannot be read" in last(said)), said
    assert "could not be read" in said or "ermission denied" in said or name == "report", said
    if name == "sort":
        assert len(files(out)) == 3


@pytest.mark.parametrize("bits", [0, 0o444])
def test_a_folder_of_pictures_that_may_not_be_entered(place, bits):
    out = place / "own" / f"folder-{bits}"
    with mode(place / "pictures" / "train", bits):
        code, said = as_ann(place, "fit", out, out)
    assert code == 1 and last(said).startswith("vlprompt: ") and not out.exists(), said
    with mode(sorted((place / "pictures" / "train").iterdir())[0], bits):
        code, said = as_ann(place, "fit", out, out)
    assert "unreadable fol" in said or "unreadable file" in said, said


@pytest.mark.parametrize("name", ["fit", "predict", "report", "sort"])
def test_a_run_that_may_not_be_read_or_written(place, name):
    run, out = place / "run", place / "own" / f"closed-{name}"
    before = files(run)
    for path, bits in ((run, 0), (run, 0o444), (run / "run.json", 0)):
        with mode(path, bits):
            code, said = as_ann(place, name, run, out)
        assert code in (1, 2) and last(said).startswith("vlprompt: "), said
    code, said = as_ann(place, name, run, out)  # it belongs to somebody else
    assert code == (1 if name == "report" else 0), said
    assert files(run) == before


@pytest.mark.parametrize("name", ["fit", "sort"])
def test_a_place_that_may_not_be_written(place, name):
    place_of_root = place / "new"
    run = place_of_root if name == "fit" else place / "run"
    code, said = as_ann(place, name, run, place_of_root)
    assert code == 1 and "cannot be written (Permission denied)" in last(said), said
    assert not place_of_root.exists()


@pytest.mark.parametrize("bits", [0, 0o444, 0o555])
def test_a_home_that_may_not_be_entered_or_written(place, bits):
    home = place / f"home-{bits}"
    home.mkdir()
    home.chmod(bits)
    run = place / "own" / f"home-{bits}"
    code, said = as_ann(place, "fit", run, run, home)
    assert code == 0 and said.count("feature cache") == 1, said
    assert as_ann(place, "predict", run, run, home)[0] == 0
    assert as_ann(place, "report", run, run, home)[0] == 0
    assert list(home.iterdir()) == []
