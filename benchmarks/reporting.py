"""What the benchmarks and the scripts that put their rows into docs/ have in common."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def read_rows(files: Iterable[str | Path]) -> list[dict[str, Any]]:
    """The JSON objects of what benchmarks printed, one a line; other lines are left out.

    Without any the program ends with a line that says so: a page's table would be emptied.
    """
    texts = "\n".join(Path(name).read_text(encoding="utf-8") for name in files).splitlines()
    found = [json.loads(text) for text in texts if text.strip().startswith("{")]
    if not found:
        raise SystemExit("no rows: expected files with what a benchmark printed with --json")
    return found


def write_part(page: Path, name: str, text: str) -> None:
    """Puts a text between `<!-- table: name -->` and the next `<!-- end -->` of a page."""
    part = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    old = page.read_text(encoding="utf-8")
    page.write_text(part.sub(lambda found: found[1] + text + found[2], old), encoding="utf-8")
