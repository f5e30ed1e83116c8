"""Lists that speak of numbers of another list's pictures, annotations in COCO's form, and labels in names of pictures."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import png

from vlprompt.data import open_dataset
from vlprompt.data.labels_in_names import label_of, told_by_names
from vlprompt.errors import DataError

BIRDS = ("001.Albatross", "002.Auk")


def written(root, name, rows):
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(rows if isinstance(rows, str) else "\n".join(rows) + "\n")


def truth(dataset):
    """Class and split of each picture."""
    return {
        item.path.rpartition("/")[2]: (dataset.class_names[item.label], split)
        for split, items in dataset.splits.items()
        for item in items
    }


@pytest.mark.parametrize("folders", [True, False])
def test_numbered_pictures_with_labels_and_splits_in_further_lists(make, folders):
    """As CUB-200-2011 has them; with all pictures in one folder, the lists alone say the classes."""
    names = [f"{bird}{'/' if folders else '_'}{bird}_{n}.png" for bird in BIRDS for n in range(4)]
    root = make([f"birds/images/{name}" for name in names])
    numbers = range(1, 9)
    written(root, "birds/images.txt", [f"{n} {name}" for n, name in zip(numbers, names, strict=True)])
    written(root, "birds/image_class_labels.txt", [f"{n} {1 + (n > 4)}" for n in numbers])
    written(root, "birds/train_test_split.txt", [f"{n} {n % 2}" for n in numbers])
    written(root, "birds/bounding_boxes.txt", [f"{n} 1.0 2.0 3.0 4.0" for n in numbers])
    written(root, "birds/classes.txt", [f"{n} {name}" for n, name in enumerate(BIRDS, 1)])
    if not folders:
        (root / "birds/image_class_labels.txt").rename(root / "birds/labels.txt")
    dataset = open_dataset(root)
    assert "train_test_split" in dataset.understood
    called = ("Albatross", "Auk") if folders else BIRDS  # folders' names are made readable, given ones stay
    assert truth(dataset) == {
        name.rpartition("/")[2]: (called[n > 4], "train" if n % 2 else "test")
        for n, name in zip(numbers, names, strict=True)
    }


def test_sheets_that_are_joined_by_a_number(make):
    root = make([f"pictures/{n}.png" for n in range(8)])
    written(root, "images.csv", ["image_id,file_name", *(f"{90 + n},{n}.png" for n in range(8))])
    written(root, "kinds.csv", ["image_id,kind", *(f"{90 + n},{('cat', 'dog')[n % 2]}" for n in range(8))])
    found = truth(open_dataset(root))
    assert {name: label for name, (label, _) in found.items()} == {
        f"{n}.png": ("cat", "dog")[n % 2] for n in range(8)
    }


def coco(pairs):
    """Annotations of (picture number, category)."""
    return json.dumps(
        {
            "images": [{"id": 10 + n, "file_name": f"{n}.png"} for n in range(6)],
            "annotations": [
                {"id": at, "image_id": 10 + n, "category_id": 7 if name == "cup" else 3}
                for at, (n, name) in enumerate(pairs)
            ],
            "categories": [{"id": 7, "name": "cup"}, {"id": 3, "name": "fork"}],
        }
    )


def test_annotations_with_one_category_of_each_picture(make):
    root = make([f"images/{n}.png" for n in range(6)])
    pairs = [(n, ("cup", "fork")[n % 2]) for n in range(6)]
    written(root, "annotations/instances.json", coco([*pairs, (0, "cup")]))  # two cups are one label
    found = truth(open_dataset(root))
    assert {name: label for name, (label, _) in found.items()} == {f"{n}.png": name for n, name in pairs}
    written(root, "annotations/instances.json", coco([*pairs, (0, "fork")]))
    with pytest.raises(DataError, match=r"0\.png holds cup, fork; a picture gets one label"):
        open_dataset(root)


@pytest.mark.parametrize(
    "text",
    [
        {"cat": ["0.png", "2.png", "4.png"], "dog": ["1.png", "3.png", "5.png"]},
        {
            "file": {str(n): f"{n}.png" for n in range(6)},
            "y": {str(n): ("cat", "dog")[n % 2] for n in range(6)},
        },
        {"file": [f"{n}.png" for n in range(6)], "label": ["cat", "dog"] * 3},
    ],
)
def test_json_by_class_and_by_column(make, text):
    root = make([f"{n}.png" for n in range(6)])
    written(root, "labels.json", json.dumps(text))
    assert {n: label for n, (label, _) in truth(open_dataset(root)).items()} == {
        f"{n}.png": ("cat", "dog")[n % 2] for n in range(6)
    }


def test_addresses_with_a_query(make):
    root = make([f"{n}.png" for n in range(6)])
    rows = (f"https://example.org/a/{n}.png?size=9,{('cat', 'dog')[n % 2]}" for n in range(6))
    written(root, "labels.csv", ["address,label", *rows])
    assert len(truth(open_dataset(root))) == 6


def test_another_column_of_labels_is_named(make):
    root = make([f"{n}.png" for n in range(8)])
    rows = (f"{n}.png,{'abcd'[n % 4]},{('cat', 'dog')[n % 2]}" for n in range(8))
    written(root, "labels.csv", ["file,breed,species", *rows])
    dataset = open_dataset(root)
    assert dataset.class_names == ("cat", "dog") and "not by breed" in dataset.understood


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("list.csv", "Bild|Art\n0.png|Äpfel\n".encode("latin-1"), "list.csv is not used: is not UTF-8"),
        ("labels.xlsx", b"PK\x03\x04" + b"\0" * 40, "labels.xlsx is not used: it is a workbook; save"),
        ("things.json", b'{"captions": 3}', "things.json is not used"),
    ],
)
def test_a_list_that_cannot_be_used_is_said_where_folders_say_nothing(make, name, data, said):
    root = make([f"pictures/{n}.png" for n in range(4)])
    (root / name).write_bytes(data)
    with pytest.raises(DataError) as error:
        open_dataset(root)
    assert said in str(error.value) or name == "things.json"
    assert "make one folder per class" in str(error.value)


def test_archives_in_a_folder_are_to_be_unpacked(tmp_path):
    (tmp_path / "cat.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    with pytest.raises(DataError, match=r"only archives such as cat\.zip: unpack them"):
        open_dataset(tmp_path)


# -- labels in names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat.0.jpg", "cat"),
        ("great_pyrenees_12.jpg", "great_pyrenees"),
        ("a/b/Äpfel (3).png", "Äpfel"),
        ("0017.jpg", ""),
        ("sunset.jpg", ""),
    ],
)
def test_the_label_is_what_stands_before_the_number(name, label):
    assert label_of(name) == label


@given(
    st.text("abcäöß_- ", min_size=1).filter(lambda t: any(map(str.isalpha, t)) and t[-1].isalpha()),
    st.integers(0, 10**6),
)
def test_any_word_with_a_number_behind_it(word, number):
    import unicodedata

    assert label_of(f"x/{word}_{number}.jpg") == unicodedata.normalize("NFC", word)


def test_labels_in_names_are_read_when_asked_for(tmp_path):
    names = [f"{label}_{n}.png" for label in ("cat", "great_dog") for n in range(4)] + ["sunset.png"]
    (tmp_path / "images").mkdir()
    for name in names:
        (tmp_path / "images" / name).write_bytes(png(name))
    dataset = open_dataset(tmp_path, labels="names")
    assert dataset.class_names == ("cat", "great dog") and len(dataset.all_items) == 8
    assert any("1 pictures without a label in their names left out" in text for text in dataset.notices)
    (tmp_path / "images" / "sunset.png").unlink()
    with pytest.raises(DataError, match=r'cat_0\.png: "cat", give --labels names'):
        open_dataset(tmp_path)
    assert told_by_names(["IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg"]) == ""  # a camera's names
