"""Every recorded case of the published code, through the library."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from compare import compare_key  # noqa: E402
from run_case import METHOD_NAMES, run  # noqa: E402

from vlprompt import methods  # noqa: E402

CASES = sorted(p for p in HERE.glob("*.json") if "observed" in p.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
@pytest.mark.parametrize("interpreter", ["fast", "plain"])
def test_case(path: Path, interpreter: str) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    if METHOD_NAMES.get(case["method"], case["method"]) not in methods.names():
        pytest.skip(f"the library has no method {case['method']} yet")
    with np.load(path.with_suffix(".npz")) as expected:
        arrays = {key: expected[key] for key in expected.files}
    actual = run(case, arrays, interpreter)
    wrong = []
    for key in case["observed"]:
        ok, text = compare_key(arrays[key], actual.get(key), case["tolerances"][key])
        if not ok:
            wrong.append(f"{key}: {text}")
    assert not wrong, "\n".join(wrong)


def test_cases_are_there() -> None:
    assert len(CASES) >= 47
