"""write_report: one self-contained page about a run (to come)."""

from __future__ import annotations

from pathlib import Path


def write_report(folder: Path, out: Path | None = None) -> Path:
    raise NotImplementedError
