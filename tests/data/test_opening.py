"""Folders, splits, domains, notices and errors of open_dataset."""

import os
import pickle
import sys
from pathlib import Path

import pytest
from making import grid, png

from vlprompt.data import duplicate_notice, duplicates_across_splits, open_dataset
from vlprompt.errors import DataError, OptionError, PictureError
from vlprompt.feeding.feature_cache import FeatureCache


def paths(dataset, split):
    return [item.path for item in dataset.items(split)]


def test_class_folders_become_classes_and_a_split_is_drawn(make):
    dataset = open_dataset(make(grid(["cat", "big_dog"], 10)))
    assert dataset.name == "photos"
    assert dataset.class_names == ("big dog", "cat")
    assert dataset.class_keys == ("big_dog", "cat")
    assert {split: len(items) for split, items in dataset.splits.items()} == {
        "train": 10,
        "val": 4,
        "test": 6,
    }
    assert dataset.counts("train") == [5, 5]
    assert "seed 1" in dataset.split_origin
    item = dataset.items("train")[0]
    assert dataset.load(item).size == (6, 5)
    assert dataset.read(item) == png(item.path)


def test_the_draw_depends_on_the_seed_only_and_a_new_class_moves_nothing(make):
    root = make(grid(["cat", "dog"], 10))
    first = open_dataset(root)
    assert open_dataset(root).splits == first.splits
    assert open_dataset(root, split_seed=2).splits != first.splits
    make(grid(["zebra"], 10))
    second = open_dataset(root)
    for split in first.splits:
        assert set(paths(first, split)) <= set(paths(second, split))
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(
    ("count", "expected"), [(1, {"train"}), (2, {"train", "test"}), (4, {"train", "val", "test"})]
)
def test_small_classes_keep_a_training_picture(make, count, expected):
    assert set(open_dataset(make(grid("ab", count))).splits) == expected


def test_impossible_fractions_are_refused(make):
    with pytest.raises(OptionError, match="must leave pictures to train on"):
        open_dataset(make(grid("ab")), val_fraction=0.5, test_fraction=0.5)


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders(make, val):
    found = grid(["cat", "dog"], 2, "train/") + grid(["cat", "dog"], 1, f"{val}/") + grid(["dog"], 3, "test/")
    dataset = open_dataset(make(found))
    assert {split: len(items) for split, items in dataset.splits.items()} == {"train": 4, "val": 2, "test": 3}
    assert dataset.split_origin == "given"
    assert dataset.class_names == ("cat", "dog")


def test_validation_pictures_stand_in_for_a_missing_test_split(make):
    dataset = open_dataset(make(grid("ab", 2, "train/") + grid("ab", 1, "val/")))
    assert set(dataset.splits) == {"train", "test"}
    assert any("validation pictures are used for testing" in notice for notice in dataset.notices)
    with pytest.raises(DataError, match=r'no split "val"; .*known: test, train'):
        dataset.items("val")


def test_a_class_may_be_called_train(make):
    dataset = open_dataset(make(grid(["train", "bus", "test"], 2)))
    assert dataset.class_names == ("bus", "test", "train")


def test_domains(make):
    root = make([path for domain in ("photo", "sketch") for path in grid(["cat", "dog"], 4, f"{domain}/")])
    dataset = open_dataset(root)
    assert dataset.domains == ("photo", "sketch")
    assert dataset.class_names == ("cat", "dog")
    one = open_dataset(root, domains="sketch")
    assert one.domains == ("sketch",)
    assert all(item.path.startswith("sketch/") for item in one.all_items)
    assert set(paths(one, "test")) <= set(paths(dataset, "test"))
    with pytest.raises(DataError, match=r'no domain "sketchy"; did you mean "sketch"'):
        open_dataset(root, domains=["sketchy"])


def test_domains_below_splits(make):
    found = [
        f"{split}/{domain}/{c}/1.png"
        for split in ("train", "test")
        for domain in "xy"
        for c in ("cat", "dog")
    ]
    dataset = open_dataset(make(found))
    assert dataset.domains == ("x", "y")
    assert len(dataset.items("test")) == 4


def test_folders_inside_classes_and_around_all_classes(make):
    found = [f"data/all/{path}" for path in ["cat/2020/1.png", "cat/2.png", "dog/summer/1.png", "dog/2.png"]]
    dataset = open_dataset(make(found))
    assert dataset.class_names == ("cat", "dog")
    assert sorted(item.path for item in dataset.all_items) == sorted(found)


def test_what_is_no_picture_is_ignored_and_empty_folders_are_named(make):
    root = make(
        [*grid(["cat", "dog"]), "loose.png", "__MACOSX/cat/x.png", "cat/.hidden.png", ".git/cat/y.png"]
    )
    (root / "cat" / "notes.txt").write_text("hello")
    (root / "bird").mkdir()
    dataset = open_dataset(root)
    assert dataset.class_names == ("cat", "dog")
    assert len(dataset.all_items) == 8
    assert any("1 folders without pictures left out: bird" in notice for notice in dataset.notices)
    assert any("loose.png" in notice for notice in dataset.notices)


def test_classes_without_training_pictures_are_named(make):
    dataset = open_dataset(make(grid("ab", 2, "train/") + grid("abc", 1, "test/")))
    assert any("no training pictures: c" in notice for notice in dataset.notices)
    assert dataset.counts("train") == [2, 2, 0]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "there are no pictures in it"),
        (["1.png", "2.png"], "no class folders"),
        (grid(["cat"]), 'only one class, "cat"'),
        (grid(["big cat", "big_cat"]), 'would both be called "big cat"'),
        (grid(["Cat", "cat"]), 'would both be called "cat"'),
    ],
)
def test_errors_say_what_is_wrong(make, tmp_path, found, message):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=message):
        open_dataset(make(found))


def test_paths_that_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(tmp_path / "nothing")
    (tmp_path / "a.png").write_bytes(png(1))
    with pytest.raises(DataError, match="is one picture"):
        open_dataset(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="no column of picture paths"):
        open_dataset(tmp_path / "notes.txt")


def test_a_link_in_a_circle_is_walked_once(make):
    root = make(grid("ab"))
    (root / "a" / "loop").symlink_to(root)
    assert len(open_dataset(root).all_items) == 8


def test_broken_and_vanished_pictures_are_picture_errors(make):
    root = make(grid("ab"))
    dataset = open_dataset(root)
    first, second = dataset.items("train")[:2]
    (root / first.path).write_bytes(png(first.path)[:100])
    (root / second.path).unlink()
    with pytest.raises(PictureError, match=f"{first.path}: broken or cut off"):
        dataset.load(first)
    with pytest.raises(PictureError, match="No such file"):
        dataset.load(second)


def test_equal_pictures_in_two_splits_are_found(make):
    root = make(grid("ab", 2, "train/") + grid("ab", 2, "test/"))
    assert duplicates_across_splits(open_dataset(root)) == []
    (root / "test/a/copy.png").write_bytes((root / "train/a/00.png").read_bytes())
    (root / "train/a/again.png").write_bytes((root / "train/a/01.png").read_bytes())  # one split: no harm
    groups = duplicates_across_splits(open_dataset(root))
    assert groups == [(("train", "train/a/00.png"), ("test", "test/a/copy.png"))]
    assert "more than one split" in str(duplicate_notice(groups))
    assert duplicate_notice([]) is None
    (root / "train/b/copy.png").write_bytes(
        (root / "train/a/00.png").read_bytes()
    )  # twice in train, once in test
    told = str(duplicate_notice(duplicates_across_splits(open_dataset(root))))
    assert "(train: train/a/00.png = test: test/a/copy.png)" in told


def test_a_data_set_survives_pickling(make):
    dataset = open_dataset(make(grid("ab")))
    again = pickle.loads(pickle.dumps(dataset))
    assert again.splits == dataset.splits
    assert again.fingerprint == dataset.fingerprint
    assert again.read(again.all_items[0]) == dataset.read(dataset.all_items[0])


def test_every_evaluation_archive_opens(shared_sets):
    expected = {
        "caltech101": ({}, 100, {"train": 4128, "val": 1649, "test": 2465}),
        "eurosat": ({}, 10, {"train": 2000, "val": 800, "test": 1200}),
        "flowers": ({}, 89, {"train": 1715, "val": 690, "test": 1027}),
        "pacs": ({"domains": "sketch"}, 7, {"train": 1964, "val": 786, "test": 1179}),
        "grocery": ({"label_column": "fine"}, 81, {"train": 2640, "val": 296, "test": 2485}),
    }
    for name, (options, classes, counts) in expected.items():
        with open_dataset(shared_sets / f"{name}.zip", **options) as dataset:
            assert len(dataset.class_names) == classes
            assert {split: len(items) for split, items in dataset.splits.items()} == counts
            assert dataset.load(dataset.items("test")[-1]).mode == "RGB"
    with open_dataset(shared_sets / "grocery.zip") as coarse:
        assert len(coarse.class_names) == 43
        assert any("coarse, fine" in notice for notice in coarse.notices)
        listed = open_dataset(shared_sets / "grocery.zip", label_column="coarse")
        assert set(coarse.items("test")) == set(listed.items("test"))
    with open_dataset(shared_sets / "eurosat.zip") as eurosat:
        assert eurosat.class_names[0] == "Annual Crop Land"


def test_folders_that_may_not_be_read(make, monkeypatch):
    root, real = make(grid("abc")), os.scandir

    def scandir(path):
        if Path(path).name in closed:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    closed = {"c"}
    dataset = open_dataset(root)
    assert dataset.class_names == ("a", "b")
    assert "1 left out: unreadable folder" in dataset.notices
    closed = {"photos"}
    with pytest.raises(DataError, match=r"cannot be listed \(Permission denied\)"):
        open_dataset(root)


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="file names are Unicode there")
def test_file_names_other_than_utf8(make, tmp_path):
    root = make(grid("ab"))
    os.rename(os.fsencode(root / "a" / "00.png"), os.fsencode(root / "a") + b"/\xe9t\xe9.png")
    dataset = open_dataset(root)
    assert dataset.counts("train") == [2, 2]
    assert len(dataset.fingerprint) == 16
    cache = FeatureCache(tmp_path / "cache")
    assert len(set(cache.content_hashes(dataset, dataset.all_items))) == 8
    assert len(set(FeatureCache(tmp_path / "cache").content_hashes(dataset, dataset.all_items))) == 8
