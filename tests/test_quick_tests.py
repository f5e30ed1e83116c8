"""The choice of quick tests."""

from __future__ import annotations

from quick_tests import COSTS, name_of, read_costs, write_costs


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
