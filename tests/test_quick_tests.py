"""The choice of quick tests."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from quick_tests import COSTS, in_turns, name_of, read_costs, write_costs


def test_costs_are_written_and_read(tmp_path):
    write_costs({"a.py::one": 2.25, "a.py::two": 30.0}, tmp_path / "costs.txt")
    assert read_costs(tmp_path / "costs.txt") == {"a.py::two": 30.0, "a.py::one": 2.2}
    assert read_costs(tmp_path / "none.txt") == {}


def test_cases_of_a_test_count_together():
    assert name_of("tests/a.py::test_b[c[0]-d]") == "tests/a.py::test_b"


def test_the_list_names_tests_that_are_there():
    """Those that are gone have to leave it, or nobody would notice when a new one of that name is dear."""
    root = COSTS.parents[1]
    for name in read_costs():
        file, _, test = name.partition("::")
        assert (root / file).is_file(), name
        assert f"def {test.rpartition('::')[2]}(" in (root / file).read_text(encoding="utf-8"), name


def named(*words: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(nodeid=word) for word in words]


def test_files_take_turns_and_tests_come_before_further_cases():
    order = in_turns(named("a::t[1]", "a::t[2]", "a::t[3]", "a::u", "b::v", "b::w"))
    assert [item.nodeid for item in order[:2]] == ["a::t[1]", "b::v"]
    assert {item.nodeid for item in order[2:5]} == {"a::t[2]", "a::u", "b::w"}
    assert order[5].nodeid == "a::t[3]"


@given(st.lists(st.sampled_from(["a::t[1]", "a::t[2]", "b::t", "c::u", "c::v"]), unique=True))
def test_nothing_is_lost_by_taking_turns(words):
    assert sorted(item.nodeid for item in in_turns(named(*words))) == sorted(words)
