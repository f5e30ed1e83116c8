"""`pytest --quick`: the tests that take two minutes together; `pytest --record-costs`: which those are, measured anew.

`costs.txt` lists what costs more than BOUND seconds of computing, summed over the cases of a test. A test that is not in it
is quick: so new tests are run until somebody measures. Computing time of the process and of what it started is
measured rather than time on the clock, so that a busy machine gives the same list.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COSTS = Path(__file__).with_name("costs.txt")
BOUND = 1.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """The two switches."""
    group = parser.getgroup("vlprompt")
    group.addoption("--quick", action="store_true", help="only tests that cost little: two minutes in all")
    group.addoption(
        "--record-costs", action="store_true", help="write into tests/costs.txt what the tests that run cost"
    )


def name_of(nodeid: str) -> str:
    """A test without the case: `tests/data/test_views.py::test_a[3]` -> `tests/data/test_views.py::test_a`."""
    return nodeid.partition("[")[0]


def read_costs(path: Path = COSTS) -> dict[str, float]:
    """Seconds by test, of those that cost more than BOUND."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(None, 1) for line in lines if line and not line.startswith("#"))
    return {name: float(seconds) for seconds, name in pairs}


def write_costs(costs: dict[str, float], path: Path = COSTS) -> None:
    """The list, dearest first."""
    head = "# seconds of computing, test; written by `pytest --record-costs`, read by `pytest --quick`\n"
    rows = sorted(costs.items(), key=lambda pair: (-pair[1], pair[0]))
    path.write_text(head + "".join(f"{seconds:.1f} {name}\n" for name, seconds in rows), encoding="utf-8")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what costs much, and what is marked slow."""
    if not config.getoption("--quick"):
        return
    dear = read_costs()
    out = [item for item in items if item.get_closest_marker("slow") or name_of(item.nodeid) in dear]
    left = set(map(id, out))
    items[:] = [item for item in items if id(item) not in left]
    config.hook.pytest_deselected(items=out)


_spent: dict[str, float] = defaultdict(float)


def _computed() -> float:
    held = os.times()
    return held.user + held.system + held.children_user + held.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Adds up what a test costs, fixtures included."""
    before = _computed()
    try:
        return (yield)
    finally:
        _spent[name_of(item.nodeid)] += _computed() - before


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the list, in which tests that did not run keep their place."""
    if session.config.getoption("--record-costs"):
        known = read_costs() | _spent
        write_costs({name: seconds for name, seconds in known.items() if seconds > BOUND})
