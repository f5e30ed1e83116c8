"""Folders that fill up or cannot be written, and processes that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "fuzz"))
sys.path.insert(0, str(Path(__file__).parent))
import fault_jobs
from small_data import picture_folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("faults") / "pictures")


@pytest.fixture(scope="session")
def children() -> fault_jobs.Children:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork and SIGKILL")
    return fault_jobs.Children()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    if not mounted(place, "size=512k"):
        pytest.skip("needs the right to mount a small tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[tuple[Path, Iterator[None]]]:
    """A folder, and an iterator whose next step takes the right to write in it."""
    place = tmp_path / "fixed"
    place.mkdir()
    on_mount = mounted(place, "size=8m")
    if not on_mount and os.geteuid() == 0:
        pytest.skip("root may write everywhere, and nothing can be mounted")

    def lock() -> Iterator[None]:
        if on_mount:
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        else:
            for path in (place, *place.rglob("*")):
                path.chmod(0o555 if path.is_dir() else 0o444)
        yield

    yield place, lock()
    if on_mount:
        subprocess.run(["umount", "-l", str(place)], check=True)
    else:
        for path in (place, *place.rglob("*")):
            path.chmod(0o755)


def mounted(place: Path, options: str) -> bool:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return False
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
    )
    return done.returncode == 0
