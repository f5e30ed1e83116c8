"""Records as dataclasses: checked on the way in, nothing lost on the way out."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlprompt.record_schema import OPTIONAL, Count, Name, Percent, Record, WrongField, parse_json


@dataclass
class Inner(Record):
    count: Count
    share: Percent | None = None


@dataclass
class Outer(Record):
    name: Name
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    words: list[str] = field(default_factory=list)
    size: tuple[int, int] = (1, 1)
    scores: dict[str, float] = field(default_factory=dict)
    note: str | None = field(default=None, metadata=OPTIONAL)


WHOLE = {
    "name": "x",
    "kind": "b",
    "inner": {"count": 3, "share": 99.5, "newer": [1]},
    "words": ["é"],
    "size": [2, 3],
    "scores": {"a": 1.5},
    "more of it": {"deep": None},
}


def test_what_is_read_is_written_again_with_what_is_not_known():
    record = Outer.from_json(WHOLE)
    assert record.inner is not None and record.inner.more == {"newer": [1]}
    assert json.loads(json.dumps(record.to_json())) == WHOLE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, "name is a number: expected text"),
        ({"name": "\ud800"}, "half a character"),
        ({"kind": "c"}, "expected a or b"),
        ({"inner": {"count": -1}}, "inner.count is -1: expected at least 0"),
        ({"inner": {"count": True}}, "inner.count is true or false"),
        ({"inner": {"count": 1, "share": 101}}, "inner.share is 101: expected at most 100"),
        ({"inner": {}}, "inner.count is missing"),
        ({"words": "ab"}, "words is text: expected a list"),
        ({"words": ["a", None]}, "words[1] is empty"),
        ({"size": [1, 2, 3]}, "size holds 3 values: expected 2"),
        ({"scores": {"a": math.inf}}, "scores.a is no finite number"),
        ({"scores": {"a": 1 << 80}}, "scores.a is no finite number"),
        ({"more of it": math.nan}, "is no finite number"),
    ],
)
def test_a_wrong_value_is_named_by_its_field(change, said):
    with pytest.raises(WrongField) as found:
        Outer.from_json(WHOLE | change)
    assert said in str(found.value)


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_what_is_no_object_is_said(value):
    with pytest.raises(WrongField, match="expected an object"):
        Outer.from_json(value)


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("key", "told"), [("a\nb\x1b[2J", r"a\nb\x1b[2J"), ("\u2028", r"\u2028"), ("k" * 10**6, "k...")]
)
def test_names_of_wrong_fields_are_told_on_one_line(key, told):
    with pytest.raises(WrongField, match=re.escape(told) + " is empty") as error:
        Outer.from_json(WHOLE | {"scores": {key: None}})
    assert str(error.value).isprintable() and len(str(error.value)) < 300


@given(st.dictionaries(st.sampled_from([*WHOLE, "other"]), ANYTHING, max_size=4))
def test_anything_is_read_or_refused_with_a_line(change):
    try:
        record = Outer.from_json(WHOLE | change)
    except WrongField as error:
        assert "\n" not in str(error)
    else:
        assert Outer.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b'{"a": 1e999}', b"\xff", b"{"])
def test_json_of_other_numbers_is_none(text):
    with pytest.raises(ValueError):  # noqa: PT011  whichever kind of it
        parse_json(text)
