"""`pytest --quick`: what can be tested in two minutes on two cores; `pytest --record-costs`: what is left out, measured anew.

Left out are tests marked slow and those that `costs.txt` lists: more than BOUND seconds of computing, summed over the
cases of a test. Of the rest every file gives its first test, then every file its second, and so on, until the time is used
up; what is skipped for that is counted in the summary. So the bound holds whatever is added.

Seconds are those of computing, of the process and of what it started, rather than on the clock: so a busy machine
runs the same tests, and gives the same list.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

COSTS = Path(__file__).with_name("costs.txt")
BOUND = 1.0
BUDGET = 90.0  # seconds of computing that a process may use, collecting the tests included


class Named(Protocol):
    """What turns are taken of."""

    nodeid: str


Item = TypeVar("Item", bound=Named)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The two switches."""
    group = parser.getgroup("vlprompt")
    group.addoption("--quick", action="store_true", help="only what can be tested in two minutes")
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
    """Leaves out what costs much, and takes turns between files."""
    if not config.getoption("--quick"):
        return
    dear = read_costs()
    out = [item for item in items if item.get_closest_marker("slow") or name_of(item.nodeid) in dear]
    left = set(map(id, out))
    items[:] = in_turns([item for item in items if id(item) not in left])
    config.hook.pytest_deselected(items=out)


def in_turns(items: Sequence[Item]) -> list[Item]:
    """The first of every file, then the second of every file, ...; in a file, different tests before further cases."""
    rank: dict[str, int] = defaultdict(
        int
    )  # how many of its file are before a test, and of its name before a case
    places = []
    for item in items:
        file, name = item.nodeid.partition("::")[0], name_of(item.nodeid)
        if name not in rank:
            rank[file] += 1
            rank[f"{name} first"] = rank[file]
        places.append((rank[name], rank[f"{name} first"]))
        rank[name] += 1
    order = sorted(range(len(items)), key=lambda i: (sum(places[i]), i))
    return [items[i] for i in order]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what comes after the two minutes."""
    if item.config.getoption("--quick") and _computed() > BUDGET:
        pytest.skip("the two minutes are used up")


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
