"""Small data sets made on the spot."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from making import png

Maker = Callable[[Iterable[str]], Path]


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Writes pictures under a new folder; every path gets its own pixels."""

    def write(paths: Iterable[str], root: str = "photos") -> Path:
        for path in paths:
            file = tmp_path / root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(path))
        return tmp_path / root

    return write


@pytest.fixture
def shared_sets() -> Path:
    """Larger data sets outside the repository: the folder of archives that VLPROMPT_EVALUATE names."""
    folder = Path(os.environ.get("VLPROMPT_EVALUATE", ""))
    if not os.environ.get("VLPROMPT_EVALUATE") or not folder.is_dir():
        pytest.skip("VLPROMPT_EVALUATE names no folder of data sets")
    return folder
