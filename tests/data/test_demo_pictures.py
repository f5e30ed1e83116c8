"""The pictures that come with the package."""

from collections import Counter
from pathlib import Path

import pytest

from vlprompt.data import duplicates_across_splits, open_dataset
from vlprompt.data.demo_pictures import FILES, packaged_name, packaged_path
from vlprompt.errors import DataError


def concept(path):
    return Path(path).stem.rpartition("_")[0]


def test_the_groceries():
    dataset = open_dataset("demo")
    assert dataset.name == "demo"
    assert len(dataset.class_names) == 20 and "avocado" in dataset.class_names
    assert {part: set(dataset.counts(part)) for part in ("train", "val", "test")} == {
        "train": {20},
        "val": {5},
        "test": {16},
    }
    assert dataset.notices == ()
    assert {min(dataset.load(item).size) for item in dataset.items("test")[::40]} == {96}


def test_the_emoji():
    dataset = open_dataset("emoji")
    assert dataset.name == "emoji"
    assert len(dataset.class_names) == 14 and "mammal" in dataset.class_names
    assert dataset.domains == ("fluent", "google", "twitter")
    assert min(dataset.counts("train")) >= 16 and min(dataset.counts("test")) >= 6
    assert dataset.notices == ()
    assert {dataset.load(item).size for item in dataset.items("test")[::40]} == {(64, 64)}


def test_both_are_small_and_keep_their_licences():
    paths = [packaged_path(name) for name in FILES]
    assert sum(path.stat().st_size for path in paths) < 3_000_000
    notice = (paths[0].parent / "NOTICE.txt").read_text(encoding="utf-8")
    assert all(path.name in notice for path in paths)


@pytest.mark.parametrize("name", FILES)
def test_no_picture_is_in_two_splits(name):
    assert duplicates_across_splits(open_dataset(name)) == []


def test_no_emoji_is_in_two_splits():
    dataset = open_dataset("emoji")
    splits = [{concept(item.path) for item in items} for items in dataset.splits.values()]
    assert sum(map(len, splits)) == len(set.union(*splits))


def test_vendors_are_domains():
    google = open_dataset("emoji:google")
    assert google.domains == ("google",) and len(google.class_names) == 14
    two = open_dataset("emoji", domains=["google", "twitter"])
    assert Counter(item.domain for item in two.all_items)["twitter"] > 200
    with pytest.raises(DataError, match='no domain "apple"'):
        open_dataset("emoji:apple")


def test_a_folder_of_that_name_goes_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert packaged_name("demo") == "demo" and packaged_name("emoji:google") == "emoji"
    (tmp_path / "demo").mkdir()
    assert packaged_name("demo") is None
    assert packaged_name("photos") is None and packaged_name(Path("emoji")) is None
