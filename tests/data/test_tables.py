"""CSV, JSON Lines, labels files and split files."""

import json

import pytest
from making import grid, zipped

from vlprompt.data import open_dataset
from vlprompt.errors import DataError

FOUND = grid(["cat", "dog"], 3)
CSV = "path,label\n" + "".join(f"{path},{path.split('/')[0]}\n" for path in FOUND)


def written(root, name, text):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    return root / name


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        "\ufeff" + CSV,
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        CSV.removeprefix("path,label\n"),
        CSV.replace("path,label", "Filename , Class"),
        CSV.replace("\n", "\r\n"),
        "".join(
            json.dumps({"file_name": path, "category": path[:3], "extra": None}) + "\n" for path in FOUND
        ),
        json.dumps([{"image": path, "label": path[:3]} for path in FOUND]),
    ],
)
def test_lists_in_many_dialects(make, text):
    dataset = open_dataset(written(make(FOUND), "list.csv", text))
    assert dataset.class_names == ("cat", "dog")
    assert sorted(item.path for item in dataset.all_items) == FOUND


def test_splits_domains_and_label_columns_of_a_list(make):
    rows = ["path,split,domain,kind,angle"]
    rows += [
        f"{p},{'train' if '00' in p else 'Test'},{'indoor' if '01' in p else 'outdoor'},{p[:3]},{p[4:6]}"
        for p in FOUND
    ]
    file = written(make(FOUND), "list.csv", "\n".join(rows))
    with pytest.raises(DataError, match="choose one with label_column: kind, angle"):
        open_dataset(file)
    dataset = open_dataset(file, label_column="kind")
    assert {split: len(items) for split, items in dataset.splits.items()} == {"train": 2, "test": 4}
    assert dataset.domains == ("indoor", "outdoor")
    sizes = open_dataset(file, label_column="angle")
    assert sizes.class_keys == ("00", "01", "02")
    assert any("classes are numbers" in notice for notice in sizes.notices)
    with pytest.raises(DataError, match=r'no column "kinds"; did you mean "kind"'):
        open_dataset(file, label_column="kinds")


def test_missing_unlabelled_and_repeated_rows_are_counted(make):
    text = CSV + "cat/99.png,cat\ncat/98.png,cat\ncat/00.png,\ncat/01.png,cat\n"
    dataset = open_dataset(written(make(FOUND), "list.csv", text))
    assert len(dataset.all_items) == 6
    said = " | ".join(dataset.notices)
    assert "2 pictures" in said and "missing, for example cat/99.png" in said
    assert "1 pictures without a label left out" in said
    assert "1 repeated lines" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the list is empty"),
        ("\x1f", "the list is empty"),
        ("path,label\n", "lists no labelled pictures"),
        ("path,label\nx.png,cat\n", "none of its pictures is there, for example x.png"),
        ("a,b\nx,y\n", "no column of picture paths"),
        ("path,label,label\n", "two columns have the same name"),
        (CSV + "cat/00.png,dog\n", 'both "cat" and "dog"'),
        ("path,label,split\ncat/00.png,cat,somewhere\n", 'line 2: split "somewhere"'),
        ('{"path": "cat/00.png"', "not readable as JSON Lines"),
        ("cat/00.png\ncat/01.png\n", "no labels"),
    ],
)
def test_bad_lists_are_explained(make, text, message):
    with pytest.raises(DataError, match=message):
        open_dataset(written(make(FOUND), "list.csv", text))


def test_lists_that_are_not_text(make):
    root = make(FOUND)
    (root / "list.csv").write_bytes(b"path,label\ncat/00.png,\xff\xfe\n")
    with pytest.raises(DataError, match="not UTF-8"):
        open_dataset(root / "list.csv")


def test_pictures_elsewhere_may_be_listed_by_absolute_paths(make, tmp_path):
    root = make(FOUND)
    text = "path,label\n" + "".join(f"{root / path},{path[:3]}\n" for path in FOUND)
    dataset = open_dataset(written(tmp_path, "lists/list.csv", text))
    assert dataset.load(dataset.all_items[0]).mode == "RGB"


def test_a_labels_file_in_an_archive(tmp_path):
    files = {f"{split}/{path}": path.encode() for split in ("train", "test") for path in FOUND}
    rows = "".join(f"{path},{path.split('/')[1]},{path[-6:-4]}\n" for path in files)
    both = zipped(tmp_path / "a.zip", {**files, "labels.csv": "path,coarse,fine\n" + rows})
    dataset = open_dataset(both)
    assert dataset.class_names == ("cat", "dog")
    assert any("coarse, fine" in notice for notice in dataset.notices)
    fine = open_dataset(both, label_column="fine")
    assert fine.class_keys == ("00", "01", "02")
    assert len(fine.items("train")) == len(fine.items("test")) == 6
    one = zipped(
        tmp_path / "b.zip",
        {**files, "labels.csv": "path,fine\n" + rows.replace("cat,", "").replace("dog,", "")},
    )
    assert open_dataset(one).class_keys == ("00", "01", "02")
    with pytest.raises(DataError, match="no labels file"):
        open_dataset(zipped(tmp_path / "c.zip", files), label_column="fine")


def test_labels_files_in_each_split_folder(tmp_path):
    files = {f"{split}/{number}.png": b"x" for split in ("train", "test") for number in range(3)}
    for split in ("train", "test"):
        files[f"{split}/metadata.jsonl"] = "".join(
            json.dumps({"file_name": f"{number}.png", "label": "odd" if number % 2 else "even"}) + "\n"
            for number in range(3)
        ).encode()
    dataset = open_dataset(zipped(tmp_path / "a.zip", files))
    assert dataset.class_names == ("even", "odd")
    assert {split: len(items) for split, items in dataset.splits.items()} == {"train": 3, "test": 3}
    assert dataset.split_origin == "given"


def test_a_labels_file_by_name_inside_and_beside(tmp_path):
    files = dict.fromkeys(FOUND, b"x")
    text = "path,label\n" + "".join(f"{path},{'odd' if '1' in path else 'even'}\n" for path in FOUND)
    inside = zipped(tmp_path / "a.zip", {**files, "lists/other.csv": text})
    assert open_dataset(inside, labels="lists/other.csv").class_names == ("even", "odd")
    beside = written(tmp_path, "mine.csv", text)
    plain = zipped(tmp_path / "b.zip", files)
    assert open_dataset(plain, labels=beside).class_names == ("even", "odd")
    assert open_dataset(plain).class_names == ("cat", "dog")
    with pytest.raises(DataError, match=r"neither in .* nor on disk"):
        open_dataset(plain, labels="none.csv")


def split_file(**parts):
    return json.dumps(
        {
            part: [[path, path.startswith("dog"), f"{path[:3]}_animal"] for path in found]
            for part, found in parts.items()
        }
    )


def test_a_split_file_gives_names_order_and_split(make):
    root = make([f"pictures/{path}" for path in [*FOUND, "bird/1.png"]])
    text = split_file(
        train=["dog/02.png", "cat/01.png"], val=["cat/00.png"], test=["dog/00.png", "dog/01.png"]
    )
    written(root, "split_zhou_Animals.json", text)
    dataset = open_dataset(root)
    assert [item.path for item in dataset.items("train")] == ["pictures/dog/02.png", "pictures/cat/01.png"]
    assert [item.label for item in dataset.items("train")] == [1, 0]
    assert dataset.class_names == ("cat animal", "dog animal")
    assert any("split_zhou_Animals.json" in notice for notice in dataset.notices)
    assert open_dataset(root / "split_zhou_Animals.json").splits == dataset.splits
    assert open_dataset(root, labels="split_zhou_Animals.json").splits == dataset.splits
    renamed = open_dataset(root, classes={"dog_animal": "hound"})
    assert renamed.class_names == ("cat animal", "hound")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is empty"),
        ("[1]", "not a split file"),
        ('{"train": [["a.png", 0]]}', "not a split file"),
        (split_file(train=["no/1.png"]), "none of its pictures is there"),
    ],
)
def test_bad_split_files(make, text, message):
    root = make(FOUND)
    written(root, "split_own_x.json", text)
    with pytest.raises(DataError, match=message):
        open_dataset(root)
