"""Generators made from a seed and a purpose."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vlprompt.seeds import generator

SEEDS = st.integers(-(2**62), 2**62)


def draw(*words) -> list[float]:
    return torch.rand(4, generator=generator(*words)).tolist()


@given(SEEDS, st.text(max_size=10), st.lists(st.integers(0, 99), max_size=3))
def test_the_same_words_give_the_same_numbers(seed, purpose, counters):
    assert draw(seed, purpose, *counters) == draw(seed, purpose, *counters)


@given(SEEDS, SEEDS)
def test_other_seeds_purposes_and_counters_give_others(one, other):
    assert (draw(one, "order") == draw(other, "order")) == (one == other)
    assert draw(one, "order", 1) != draw(one, "order", 2) != draw(one, "views", 2)


def test_neighbours_do_not_run_together():
    """("order", 1, 23) and ("order", 12, 3) are two draws."""
    assert draw(1, "order", 1, 23) != draw(1, "order", 12, 3)
    assert draw(1, "order", 2) != draw(12, "order")


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    draw(5, "x")
    assert torch.equal(torch.rand(3), expected)
