"""tools/audit.py: what is said of releases, from pages on disk."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).parent.parent / "tools" / "audit.py"
FLAW: dict[str, Any] = {"id": "PYSEC-1"}


@pytest.mark.parametrize(
    ("path", "newest", "flaws", "expected"),
    [
        ("one/1.0", "1.0", [FLAW], ["PYSEC-1"]),  # the page of the release itself
        ("one", "1.0", [FLAW, {"id": "PYSEC-2", "withdrawn": "2026-01-01T00:00:00Z"}], ["PYSEC-1"]),
        ("one", "1.0", [], []),
        ("one", "1.1", [FLAW], None),  # the newest release's flaws say nothing of ours
        ("one", "1.1", [], None),
        ("other", "1.0", [], None),
    ],
)
def test_a_release_is_answered_for_only_by_its_own_page(
    tmp_path: Path, path: str, newest: str, flaws: list[dict[str, Any]], expected: list[str] | None
) -> None:
    page = tmp_path / "pypi" / path / "json"
    page.parent.mkdir(parents=True)
    page.write_text(json.dumps({"info": {"version": newest}, "vulnerabilities": flaws}))
    assert runpy.run_path(str(TOOL))["known"](tmp_path.as_uri(), "one", "1.0+cpu") == expected


def test_a_page_without_the_list_says_nothing(tmp_path: Path) -> None:
    page = tmp_path / "pypi" / "one" / "json"
    page.parent.mkdir(parents=True)
    page.write_text(json.dumps({"info": {"version": "1.0"}}))
    assert runpy.run_path(str(TOOL))["known"](tmp_path.as_uri(), "one", "1.0") is None
