"""Runs all parity cases through the library and writes the table of docs/parity.md (some minutes).

python docs/make_parity.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "parity.md"
CASES = ROOT / "tests" / "parity"
sys.path[:0] = [str(CASES), str(ROOT / "benchmarks")]


def share(case: dict[str, Any], expected: dict[str, Any], actual: dict[str, Any]) -> tuple[float, str]:
    """The largest deviation of a case as a share of what is allowed, and the array it is in."""
    found = []
    for key in case["observed"]:
        gap = float(
            np.abs(np.asarray(actual[key], np.float64) - expected[key].astype(np.float64)).max(initial=0)
        )
        found.append((gap / case["tolerances"][key], key))
    return max(found)


def rows() -> list[str]:
    from run_case import run

    lines = [
        "| case | method | arrays | fast: worst share of the tolerance | plain | fast in float32 |",
        "|---|---|---|---|---|---|",
    ]
    for path in sorted(CASES.glob("*.npz")):
        case = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if "observed" not in case or "published_defect" in case:
            continue
        with np.load(path) as held:
            expected = {key: held[key] for key in held.files}
        ways = (("fast", "float64"), ("plain", "float64"), ("fast", "float32"))
        shares = [share(case, expected, run(case, expected, *way)) for way in ways]
        method = case["method"].replace("_lamm", "+lamm")
        figures = " | ".join(f"{100 * worst:.1f} %" for worst, _ in shares)
        lines.append(f"| `{path.stem}` | {method} | {len(case['observed'])} | {figures} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    from reporting import write_part

    write_part(PAGE, "cases", "\n".join(rows()) + "\n")


if __name__ == "__main__":
    main()
