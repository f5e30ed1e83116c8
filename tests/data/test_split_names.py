"""Splits by the names of folders, in all the forms that people use."""

import pytest
from making import grid

from vlprompt.data import open_dataset
from vlprompt.data.split_names import split_name
from vlprompt.errors import DataError


@pytest.mark.parametrize(
    ("name", "split", "rest"),
    [
        ("train", "train", ""),
        ("Training_Set", "train", ""),
        ("TrainingSet", "train", ""),
        ("trainset", "train", ""),
        ("test-images", "test", ""),
        ("images_valid", "val", ""),
        ("val2017", "val", ""),
        ("test1", "test", ""),
        ("PublicTest", "test", ""),
        ("Test Data", "test", ""),
        ("eval", "val", ""),
        ("seg_train", "train", "seg"),
        ("seg_pred", "unlabelled", "seg"),
        ("train station", "train", "station"),
    ],
)
def test_a_name(name, split, rest):
    assert split_name(name) == (split, rest)


@pytest.mark.parametrize(
    "name", ["cat", "trains", "contest", "latest", "evaluate me", "traintest", "train_test", "", "猫"]
)
def test_other_names(name):
    found = split_name(name)
    assert found is None or found.rest


def counts(dataset):
    return {split: len(items) for split, items in dataset.splits.items()}


TWO = ["cat", "dog"]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set/", "test_set/"),
        ("Train Set/", "Test Set/"),
        ("train_images/", "test_images/"),
        ("train/images/", "test/images/"),
        ("train/train/", "test/test/"),
        ("seg_train/seg_train/", "seg_test/seg_test/"),
        ("animals_train/", "animals_test/"),
        ("data/training/", "data/testing/"),
        ("train2017/", "test2017/"),
        ("TrainData/", "TestData/"),
        ("train/all animals/", "test/all animals/"),
    ],
)
def test_split_folders_by_other_names(make, train, test):
    dataset = open_dataset(make(grid(TWO, 3, train) + grid(TWO, 2, test)))
    assert dataset.class_names == ("cat", "dog")
    assert counts(dataset) == {"train": 6, "test": 4}
    assert dataset.split_origin == "given" and not dataset.domains
    assert dataset.understood.startswith("a folder for each class below")


@pytest.mark.parametrize("val", ["eval", "evaluation", "valid", "val_set", "dev"])
def test_a_validation_folder_stands_in_for_test(make, val):
    dataset = open_dataset(make(grid(TWO, 3, "train/") + grid(TWO, 2, f"{val}/")))
    assert counts(dataset) == {"train": 6, "test": 4}


def test_train_dev_eval(make):
    found = grid(TWO, 3, "train/") + grid(TWO, 1, "dev/") + grid(TWO, 2, "eval/")
    assert counts(open_dataset(make(found))) == {"train": 6, "val": 2, "test": 4}


@pytest.mark.parametrize(
    "flat",
    ["test/1.png", "test/test/1.png", "test/images/1.png", "test1/1.png", "pred/1.png", "unlabeled/1.png"],
)
def test_a_split_without_class_folders_is_left_out(make, flat):
    dataset = open_dataset(make([*grid(TWO, 10, "train/"), flat]))
    assert dataset.class_names == ("cat", "dog")
    assert len(dataset.all_items) == 20
    said = " | ".join(dataset.notices)
    assert f"{flat.partition('/')[0]}/ left out" in said and "1 picture, " in said


def test_a_flat_test_folder_beside_three_splits(make):
    found = [
        *grid(TWO, 4, "seg_train/seg_train/"),
        *grid(TWO, 2, "seg_test/seg_test/"),
        "seg_pred/seg_pred/1.png",
    ]
    dataset = open_dataset(make(found))
    assert counts(dataset) == {"train": 8, "test": 4}
    assert any(
        "seg_pred/ left out: its pictures have no labels (1 picture" in text for text in dataset.notices
    )


def test_folders_beside_splits_are_named(make):
    dataset = open_dataset(
        make(grid(TWO, 3, "train/") + grid(TWO, 2, "test/") + ["samples/1.png", "samples/2.png"])
    )
    assert counts(dataset) == {"train": 6, "test": 4}
    assert any("samples/ left out: it is no split (2 pictures" in text for text in dataset.notices)


def test_loose_pictures_in_a_split_are_counted(make):
    dataset = open_dataset(make([*grid(TWO, 3, "train/"), "train/9.png", *grid(TWO, 2, "test/")]))
    assert counts(dataset) == {"train": 6, "test": 4}
    assert any("train/9.png directly in train/ left out" in text for text in dataset.notices)


def test_splits_inside_class_and_domain_folders(make):
    inside = open_dataset(
        make([p for c in TWO for p in [f"{c}/train/1.png", f"{c}/train/2.png", f"{c}/test/1.png"]])
    )
    assert inside.class_names == ("cat", "dog") and counts(inside) == {"train": 4, "test": 2}
    domains = [f"{d}/{s}/{c}/1.png" for d in ("photo", "sketch") for s in ("train", "val") for c in TWO]
    below = open_dataset(make(domains, "domains"))
    assert below.domains == ("photo", "sketch") and below.class_names == ("cat", "dog")
    assert counts(below) == {"train": 4, "test": 4}


@pytest.mark.parametrize(
    "classes",
    [
        ["train", "car", "test"],
        ["train station", "test tube"],
        ["training shoe", "dress shoe"],
        ["train", "tram", "bus"],
        ["validation stamp", "train ticket"],
    ],
)
def test_classes_that_sound_like_splits(make, classes):
    plain = open_dataset(make(grid(classes, 4)))
    assert sorted(plain.class_names) == sorted(classes)
    deeper = open_dataset(make([f"{c}/2020/{n}.png" for c in classes for n in range(4)], "deeper"))
    assert sorted(deeper.class_names) == sorted(classes)
    below = open_dataset(make(grid(classes, 3, "train/") + grid(classes, 1, "test/"), "below"))
    assert sorted(below.class_names) == sorted(classes)
    assert counts(below) == {"train": 3 * len(classes), "test": len(classes)}


def test_splits_without_any_class_folder_are_an_error(make):
    with pytest.raises(
        DataError, match=r"test/ and train/ hold pictures but no class folders.*CSV of path,label"
    ):
        open_dataset(make([f"{split}/{n}.png" for split in ("train", "test") for n in range(3)]))
    with pytest.raises(DataError, match="no class folders"):
        open_dataset(
            make([f"{split}/images/{n}.png" for split in ("train", "test") for n in range(3)], "boxes")
        )


def test_classes_of_another_split_may_be_others(make):
    """As in few-shot benchmarks whose splits share no class."""
    dataset = open_dataset(make(grid(["a", "b"], 2, "train/") + grid(["c", "d"], 2, "test/")))
    assert dataset.class_names == ("a", "b", "c", "d")
    assert any("no training pictures: c, d" in text for text in dataset.notices)


def test_a_split_by_a_name_that_is_not_known_is_said(make):
    dataset = open_dataset(make(grid(["cat", "dog"], prefix="tain/") + grid(["cat", "dog"], prefix="test/")))
    assert dataset.domains == ("tain", "test")
    assert any("test is called like a split: if the others are splits too" in n for n in dataset.notices)


@pytest.mark.parametrize("name", ["unlabeled", "Predict", "inference_images"])
@pytest.mark.parametrize("above", ["", "labeled/"])
def test_pictures_to_be_predicted_are_no_class(make, name, above):
    paths = grid(["cat", "dog"], prefix=above) + [f"{name}/{n}.png" for n in range(3)]
    dataset = open_dataset(make(paths), val_fraction=0, test_fraction=0)
    assert dataset.class_names == ("cat", "dog") and len(dataset.items("train")) == 8
    assert (
        f"{name}/ left out: its pictures have no labels (3 pictures, such as {name}/0.png)" in dataset.notices
    )


def test_a_class_that_is_called_like_a_split_is_said(make):
    dataset = open_dataset(make(grid(["cat", "dog", "test"])))
    assert dataset.class_names == ("cat", "dog", "test")
    assert any(
        text.startswith("test/ counted as a class, though called like a split") for text in dataset.notices
    )


def test_cells_that_may_mean_no_label_are_said(make):
    dataset = open_dataset(make(grid(["cat", "dog", "nan"])))
    assert any('"nan" is read as a class' in text for text in dataset.notices)
