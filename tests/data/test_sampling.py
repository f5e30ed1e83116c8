"""Few-shot samples and base/new classes equal the published code's, draw for draw."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import grid

from vlprompt.data import Item, base_new, draw, few_shot, open_dataset, sample
from vlprompt.errors import DataError, OptionError

RECORD = json.loads((Path(__file__).parents[1] / "parity" / "sampler.json").read_text())


def items_of(labels):
    return [Item(str(number), label) for number, label in enumerate(labels)]


def layout(description):
    counts = description["counts"]
    if description["kind"] == "blocks":
        return items_of([label for label, count in counts for _ in range(count)])
    return items_of(
        [label for turn in range(max(c for _, c in counts)) for label, count in counts if turn < count]
    )


def indices(items):
    return [int(item.path) for item in items]


def test_few_shot_samples_equal_the_record():
    layouts = {entry["name"]: (layout(entry["train"]), layout(entry["val"])) for entry in RECORD["layouts"]}
    for case in RECORD["results"]:
        train, val = sample(*layouts[case["layout"]], case["shots"], case["seed"], case["repeat"])
        assert (indices(train), indices(val)) == (case["train"], case["val"]), case


def test_base_and_new_classes_equal_the_record():
    for case in RECORD["subsample_classes"]:
        train, test = items_of(case["train_labels"]), items_of(case["test_labels"])
        val = items_of(case["train_labels"][::-1])
        found = base_new(case["mode"], train, val, test)
        for items, name in zip(found, ("train", "val", "test"), strict=True):
            assert [[int(item.path), item.label] for item in items] == case[name]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=60), st.integers(0, 20), st.integers(0, 5))
def test_a_sample_never_repeats_and_takes_what_there_is(labels, shots, seed):
    items = items_of(labels)
    chosen = few_shot(items, shots, random.Random(seed))
    assert len(set(chosen)) == len(chosen)
    there, taken = Counter(labels), Counter(item.label for item in chosen)
    assert taken == {label: min(count, shots) if shots else count for label, count in there.items()}
    assert chosen == few_shot(items, shots, random.Random(seed))


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_base_and_new_part_all_items(labels):
    items = items_of(labels)
    (base,), (new,) = base_new("base", items), base_new("new", items)
    assert sorted(indices(base) + indices(new)) == indices(items)
    for part in (base, new):
        assert sorted({item.label for item in part}) == list(range(len({item.label for item in part})))


def test_a_split_of_a_data_set(make):
    dataset = open_dataset(make(grid("abcde", 10) + grid("f", 4)))
    split = draw(dataset, shots=4, seed=2)
    assert Counter(item.label for item in split.train) == {0: 4, 1: 4, 2: 4, 3: 4, 4: 4, 5: 2}
    assert split.notices == ("1 classes have fewer than 4 training pictures, all are used: f (2)",)
    assert split.test == dataset.items("test")
    base, new = draw(dataset, shots=4, seed=2, which="base"), draw(dataset, shots=4, seed=2, which="new")
    assert base.class_names == ("a", "b", "c") and new.class_names == ("d", "e", "f")
    assert {item.label for item in new.test} == {0, 1, 2}
    assert [item.path for item in base.train + new.train] == [item.path for item in split.train]
    assert len(draw(dataset, shots=0).train) == len(dataset.items("train"))


def test_wrong_choices(make):
    dataset = open_dataset(make(grid("ab")))
    with pytest.raises(OptionError, match="none of all, base, new"):
        draw(dataset, which="old")
    with pytest.raises(OptionError, match="shots -1"):
        draw(dataset, shots=-1)
    with pytest.raises(DataError, match='no split "train"'):
        draw(open_dataset(make(grid("ab", 2, "test/"), "only_test")))
