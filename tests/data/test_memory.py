import numpy as np
import pytest
from making import png

from vlprompt.data import from_pictures
from vlprompt.errors import DataError, PictureError


def test_mixed_pictures_and_labels(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    array = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    dataset = from_pictures([tmp_path / "a.png", png(2), array], ["dog", "cat", "dog"])
    assert dataset.class_names == ("cat", "dog")
    assert [item.label for item in dataset.items("train")] == [1, 0, 1]
    before, stored = array.copy(), dataset.fingerprint
    array[:] = 0
    assert np.array_equal(dataset.load(dataset.items("train")[2]), before)
    changed = from_pictures([tmp_path / "a.png", png(2), array], ["dog", "cat", "dog"])
    assert changed.fingerprint != stored


def test_names_from_a_list():
    dataset = from_pictures([png(1), png(2)], ["bee", "bee"], classes=["cow", "bee"], split="test")
    assert dataset.class_names == ("cow", "bee")
    assert dataset.counts("test") == [0, 2]
    with pytest.raises(DataError, match='label "be" is none of the classes; did you mean "bee"'):
        from_pictures([png(1)], ["be"], classes=["cow", "bee"])


def test_numbers_with_names():
    stack = np.zeros((4, 5, 6, 3), np.uint8)
    dataset = from_pictures(stack, np.array([2, 0, 2, 0]), classes=["ant", "bee", "cow"])
    assert dataset.class_names == ("ant", "bee", "cow")
    assert dataset.counts("train") == [2, 0, 2]
    assert from_pictures(stack, [10, 9, 10, 9]).class_keys == ("9", "10")
    with pytest.raises(DataError, match="label 3 has no name"):
        from_pictures(stack, [0, 1, 2, 3], classes=["ant", "bee", "cow"])


def test_as_many_numbers_as_names_are_named_in_order():
    stack = np.zeros((4, 5, 6, 3), np.uint8)
    names = ["ant", "bee", "cow"]
    dataset = from_pictures(stack, [3, 1, 2, 1], classes=names)
    assert dataset.class_keys == ("1", "2", "3") and dataset.class_names == ("ant", "bee", "cow")
    assert [item.label for item in dataset.items("train")] == [2, 0, 1, 0]
    assert from_pictures(stack, [100, 20, 3, 3], classes=names).class_keys == ("3", "20", "100")
    with pytest.raises(DataError, match=r"3 names are given for the labels 1, 3: give a dict"):
        from_pictures(stack, [1, 3, 1, 3], classes=names)
    assert from_pictures(stack, [1, 3, 1, 3], classes={"1": "ant", "3": "cow"}).class_names == ("ant", "cow")


@pytest.mark.parametrize(
    ("pictures", "labels", "message"),
    [
        ([], [], "no pictures"),
        ([b"x"], ["a", "b"], "1 pictures but 2 labels"),
        ([b"x", b"y"], ["a", "a"], "only one class"),
        ("a.png", ["a"], "must be a list"),
        ([np.zeros((3, 4)), None], ["a", "b"], "picture 1: a NoneType"),
    ],
)
def test_errors(pictures, labels, message):
    with pytest.raises(DataError, match=message):
        from_pictures(pictures, labels)


def test_a_missing_file_is_found_out_when_it_is_read():
    dataset = from_pictures(["nowhere.png", png(1)], ["a", "b"])
    with pytest.raises(PictureError, match=r"nowhere\.png: cannot be read"):
        dataset.load(dataset.items("train")[0])
