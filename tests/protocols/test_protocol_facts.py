"""What protocols declare is true of their functions, and enough for everybody who asks."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from vlprompt import protocols
from vlprompt.errors import OptionError
from vlprompt.protocols.protocol_facts import HIGHER, LOWER, NEITHER, RECORD, harmonic_mean
from vlprompt.report.drawings import drawings
from vlprompt.sweeps.sweep_file import KINDS

COMMON = {"data", "method", "backbone", "shots", "seeds", "out", "more"}
FACTS = protocols.all_facts()


@pytest.mark.parametrize("name", protocols.names())
def test_facts_are_those_of_the_function(name):
    facts, function = FACTS[name], protocols.find(name)
    assert facts.name == function.__name__ == name
    assert set(inspect.signature(function).parameters) - COMMON == set(facts.argument_names)
    assert facts.main in facts.value_names
    assert facts.title and facts.summary and not facts.summary.endswith(".")
    assert not facts.drawing or facts.drawing in drawings()
    assert all(value.good in (HIGHER, LOWER, NEITHER) and value.heading for value in facts.values)
    assert not set(facts.value_names) & set(RECORD)
    assert not facts.each_on_the_others or facts.has_targets


def test_kinds_of_arguments_are_those_that_a_sweep_can_check():
    for facts in FACTS.values():
        for one in facts.arguments:
            assert one.expected in KINDS or one.name == "targets"


def test_a_value_of_two_protocols_is_the_same_in_tables():
    held = {}
    for facts in FACTS.values():
        for value in facts.values:
            known = held.setdefault(value.name, value)
            assert (known.heading, known.words, known.good) == (value.heading, value.words, value.good)


def test_facts_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        FACTS["few_shot"].title = "x"


def test_other_names_offer_the_nearest():
    with pytest.raises(OptionError, match='did you mean "few_shot"'):
        protocols.facts_of("few_shots")
    assert protocols.facts_of("base-to-new") is protocols.facts_of("base_to_new")


def test_records_of_a_protocol_that_is_not_known_can_be_shown():
    facts = protocols.declared("zero_to_one")
    assert (facts.title, facts.main, facts.averaged) == ("zero_to_one", "average", False)


def test_reading_facts_imports_no_torch():
    code = (
        "import sys; from vlprompt.protocols import all_facts; all_facts(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("base", "new", "mean"), [(0, 0, 0), (50, 50, 50), (80, 40, 2 * 3200 / 120)])
def test_harmonic_mean(base, new, mean):
    assert harmonic_mean(base, new) == pytest.approx(mean)


def test_methods_that_know_only_their_classes_are_named_where_others_come():
    from vlprompt.fitting.plan import make_plan
    from vlprompt.protocols.protocol_setup import obstacle

    probe = make_plan("linear_probe")
    kept_out = [name for name in protocols.names() if obstacle(name, probe)]
    assert kept_out == ["base_to_new", "class_incremental", "cross_dataset"]
    assert "no further classes" in obstacle("class_incremental", probe)
