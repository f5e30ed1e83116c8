"""The form shows every option of every method once, and gives back values that the method takes."""

from __future__ import annotations

import pytest

from vlprompt import methods
from vlprompt.errors import OptionError
from vlprompt.fitting.plan import make_plan
from vlprompt.studio import forms
from vlprompt.studio.limits import Limits


@pytest.mark.parametrize("method", [name for _, name in forms.method_choices() if name != "auto"])
@pytest.mark.parametrize("small", [True, False])
def test_start_values_are_a_plan(method, small):
    rows = forms.rows(method, Limits(), small)
    options, train = forms.read(rows, [row.value for row in rows])
    plan = make_plan(method, options, train)
    assert set(options) == {field for one in methods.load(method).kinds for field in one.__dataclass_fields__}
    assert sum(row.first for row in rows) == (1 if methods.load(method).facts.trains else 0)
    assert not train or 0 < plan.train.epochs <= (
        200 if plan.train.batch == -1 else 50
    )  # a step for an epoch


def test_every_method_that_learns_is_offered_and_the_default_comes_first():
    names = [name for _, name in forms.method_choices()]
    assert names[0] == forms.DEFAULT_METHOD
    assert set(names) == {"auto", *methods.names()} - {"zeroshot"}
    assert forms.rows("auto", Limits()) == []  # it chooses by itself


def test_values_that_are_none_or_too_many():
    rows = forms.rows("coop", Limits(epochs=100))
    values = [row.value for row in rows]
    place = next(i for i, row in enumerate(rows) if row.name == "epochs")
    values[place] = 101
    with pytest.raises(OptionError, match="at most 100"):
        forms.read(rows, values)
    values[place] = None
    with pytest.raises(OptionError, match="give a value"):
        forms.read(rows, values)


def test_labels_say_no_code():
    """What stands above a field is in words; the option's own name stands below."""
    for _, method in forms.method_choices():
        if method == "auto":
            continue
        for row in forms.rows(method, Limits()):
            assert "_" not in row.label and "lambda" not in row.label and row.label[0].isupper(), row.label
            assert len(row.label) <= forms.MOST_LETTERS


def test_rounds_by_hand_are_as_many_as_were_asked_for():
    rows = forms.rows("maple", Limits(epochs=100))
    held = {row.name: row.value for row in rows}
    assert held["least_steps"] == 100 and forms.read(rows, list(held.values()))[1]["least_steps"] == 100
    assert "least_steps" not in forms.read(rows, list((held | {"epochs": 3}).values()))[1]
    both = forms.read(rows, list((held | {"epochs": 3, "least_steps": 7}).values()))[1]
    assert (both["epochs"], both["least_steps"]) == (3, 7)
    with pytest.raises(OptionError, match="expected a number"):
        forms.read(rows, list((held | {"epochs": "12"}).values()))
