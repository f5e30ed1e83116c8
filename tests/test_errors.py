"""The error tree and the nearest name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlprompt import errors
from vlprompt.errors import MissingExtra, VlpromptError, nearest


def tree() -> list[type[VlpromptError]]:
    return [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VlpromptError)
    ]


def test_every_error_is_in_the_picture_at_the_head_of_the_file():
    for kind in tree():
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [("OptionError", ValueError), ("DataError", ValueError), ("TrainingError", RuntimeError)],
)
def test_errors_are_caught_as_what_they_are_in_python_too(kind, builtin):
    assert issubclass(getattr(errors, kind), builtin)


def test_usage_ends_with_two_and_everything_else_with_one():
    assert {kind.__name__ for kind in tree() if kind.exit_code == 2} == {"OptionError"}
    assert {kind.exit_code for kind in tree()} == {1, 2}


def test_a_missing_extra_says_what_to_install():
    assert str(MissingExtra("gradio", "studio", "vlprompt studio")) == (
        "vlprompt studio needs gradio: pip install 'vlprompt[studio]'"
    )


def test_the_nearest_name_is_offered():
    assert nearest("lam", ["coop", "lamm"]) == 'did you mean "lamm"? known: coop, lamm'
    assert nearest("xyz", ["coop", "lamm"]) == "known: coop, lamm"


@given(st.text(max_size=20), st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6))
def test_all_known_names_are_said(word, known):
    said = nearest(word, known)
    assert all(name in said for name in known)


@given(st.sampled_from(["coop", "cocoop", "maple", "tip_adapter"]))
def test_a_letter_too_few_is_understood(name):
    assert f'did you mean "{name}"?' in nearest(name[:-1], ["coop", "cocoop", "maple", "tip_adapter"])
