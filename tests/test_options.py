"""Options declared once."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlprompt.errors import OptionError
from vlprompt.options import OptionSet, build, field_table, option, parse


@dataclass(frozen=True)
class Some(OptionSet):
    tokens: int = option(4, "tokens before the name", low=1, high=64)
    place: str = option("end", "where the name stands", choices=("end", "front"))
    rate: float | None = option(None, "learning rate")


def test_defaults_hold_and_cannot_be_changed():
    assert (Some().tokens, Some().place, Some().rate) == (4, "end", None)
    with pytest.raises(FrozenInstanceError):
        Some().tokens = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tokens": 0}, "tokens is 0"),
        ({"tokens": 65}, "tokens is 65"),
        ({"place": "ende"}, "place"),
        ({"tokens": "x"}, "tokens"),
    ],
)
def test_wrong_values_are_named(values, said):
    with pytest.raises(OptionError, match=said):
        Some(**values)


def test_a_dictionary_becomes_options_or_names_the_nearest():
    assert build(Some, {"tokens": 8}).tokens == 8
    with pytest.raises(OptionError, match='no option "token" of x: did you mean "tokens"'):
        build(Some, {"token": 8}, owner="x")


@given(st.integers(1, 64))
def test_a_number_survives_its_text(value):
    assert Some(tokens=parse(int, "tokens", str(value))).tokens == value
    assert Some(tokens=float(value)).tokens == value  # as JSON of other programs has it


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("OFF", False), ("1", True), (" false ", False)])
def test_words_for_true_and_false(text, value):
    assert parse(bool, "flag", text) is value
    with pytest.raises(OptionError, match="expected true or false"):
        parse(bool, "flag", "maybe")


def test_the_table_holds_every_field():
    text = str(field_table(Some))
    assert all(word in text for word in ("tokens", "place", "rate", "where the name stands"))
