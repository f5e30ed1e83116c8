"""The demo pictures that come with the package."""

from collections import Counter
from pathlib import Path

import pytest

from vlprompt.data import duplicates_across_splits, open_dataset
from vlprompt.data.demo_pictures import demo_path
from vlprompt.errors import DataError


def concept(path):
    return Path(path).stem.rpartition("_")[0]


def test_the_demo_pictures():
    dataset = open_dataset("demo")
    assert dataset.name == "demo"
    assert len(dataset.class_names) == 42 and "mammal" in dataset.class_names
    assert dataset.domains == ("fluent", "google", "twitter")
    assert min(dataset.counts("train")) >= 16 and min(dataset.counts("test")) >= 6
    assert dataset.notices == ()
    assert demo_path().stat().st_size < 3_000_000
    assert (demo_path().parent / "NOTICE.txt").is_file()
    assert {dataset.load(item).size for item in dataset.items("test")[::40]} == {(64, 64)}


def test_no_emoji_is_in_two_splits():
    dataset = open_dataset("demo")
    splits = [{concept(item.path) for item in items} for items in dataset.splits.values()]
    assert sum(map(len, splits)) == len(set.union(*splits))
    assert duplicates_across_splits(dataset) == []


def test_vendors_are_domains():
    google = open_dataset("demo:google")
    assert google.domains == ("google",) and len(google.class_names) == 42
    two = open_dataset("demo", domains=["google", "twitter"])
    assert Counter(item.domain for item in two.all_items)["twitter"] > 700
    with pytest.raises(DataError, match='no domain "apple"'):
        open_dataset("demo:apple")
