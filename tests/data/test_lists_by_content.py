"""Lists: which column is what is told by its values; what does not fit is said, with the line."""

import csv
import gzip
import io
import json
from importlib import util

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from making import grid, png, zipped

from vlprompt.data import open_dataset
from vlprompt.data.tabular_text import elements, read_table
from vlprompt.errors import DataError, VlpromptError

FLAT = [f"{n}.png" for n in range(8)]
LABELS = ["cat", "dog"] * 4


def written(root, name, text):
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def table(header, *columns, delimiter=","):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    return out.getvalue()


def is_right(dataset, count=8, names=("cat", "dog")):
    assert dataset.class_names == names
    assert len(dataset.all_items) == count
    for item in dataset.all_items:
        number = int(item.path.rpartition("/")[2].partition(".")[0].lstrip("img_") or 0)
        assert dataset.class_keys[item.label] == (("cat", "dog")[number % 2])
        assert dataset.load(item).mode == "RGB"
    return True


def counts(dataset):
    return {split: len(items) for split, items in dataset.splits.items()}


# -- the picture column ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "cell"),
    [
        ("image_id", "{n}.png"),
        ("File Name", "pics/{n}.png"),
        ("id", "{n}"),
        ("anything at all", "pics/{n}"),
        ("path", "{n}.png"),
        ("Bild", "./pics/{n}.png"),
        ("path", "C:\\Users\\me\\photos\\pics\\{n}.png"),
        ("path", "/kaggle/input/animals/{n}.png"),
        ("url", "https://example.org/animals/{n}.png?size=1"[:-7]),
        ("path", "{n}.jpg"),
        ("name", "PICS/{n}.PNG"),
        ("id", "000{n}"),
    ],
)
def test_the_picture_column_is_found_by_its_values(make, header, cell):
    root = make([f"pics/{name}" for name in FLAT])
    cells = [cell.format(n=n) for n in range(8)]
    file = written(root, "list.csv", table([header, "what"], cells, LABELS))
    dataset = open_dataset(file)
    assert is_right(dataset)
    assert "list.csv: pictures by " in dataset.understood and "labels by what" in dataset.understood
    if cell not in ("pics/{n}.png", "./pics/{n}.png"):
        assert "found in pics/" in dataset.understood
    assert is_right(open_dataset(root, labels="list.csv"))
    assert is_right(open_dataset(root))


def test_an_index_column_is_no_picture_column(make):
    """Numbers that happen to be names of pictures, beside the column that names them."""
    root = make([f"pics/{name}" for name in FLAT])
    cells = [f"pics/{n}.png" for n in range(8)]
    shuffled = [str((n + 3) % 8) for n in range(8)]
    assert is_right(
        open_dataset(written(root, "a.csv", table(["", "path", "label"], shuffled, cells, LABELS)))
    )
    away = table(["id", "path", "label"], shuffled, [f"gone/x{n}.png" for n in range(8)], LABELS)
    with pytest.raises(DataError, match="none of its pictures is there, for example gone/x0.png.*--labels"):
        open_dataset(written(root, "b.csv", away))


def test_zeros_that_a_spreadsheet_took(make):
    root = make([f"pics/000{n}.png" for n in range(8)])
    dataset = open_dataset(written(root, "list.csv", table(["id", "label"], map(str, range(8)), LABELS)))
    assert is_right(dataset) and "by number" in dataset.understood


def test_a_sibling_folder(make, tmp_path):
    make(FLAT, "set/images")
    dataset = open_dataset(written(tmp_path, "set/lists/all.csv", table(["f", "label"], FLAT, LABELS)))
    assert is_right(dataset) and len(dataset.fingerprint) == 16


def test_names_that_two_folders_have(make):
    root = make([f"{folder}/{name}" for folder in ("train_images", "test_images") for name in FLAT])
    text = table(["image_id", "label"], FLAT, LABELS)
    dataset = open_dataset(written(root, "train.csv", text))
    assert is_right(dataset) and {item.path.partition("/")[0] for item in dataset.all_items} == {
        "train_images"
    }
    (root / "train.csv").unlink()
    with pytest.raises(DataError, match=r'"0.png" may be te.*_images/0.png or .*; write the folder too'):
        open_dataset(written(root, "list.csv", text))


def test_pictures_in_folders_of_parts(make):
    root = make([f"part{n % 3}/{n}.png" for n in range(8)])
    dataset = open_dataset(written(root, "labels.csv", table(["id", "breed"], map(str, range(8)), LABELS)))
    assert is_right(dataset) and "found in 3 folders, without endings" in dataset.understood


@pytest.mark.parametrize(
    "folders", [("train", "test"), ("train_images", "test_images"), ("images",), ("a/b",)]
)
def test_a_list_of_ids_beside_flat_folders(make, folders):
    """As competitions give them: labels for one folder, none for the other."""
    root = make(
        [f"{folders[0]}/{name}" for name in FLAT] + [f"{f}/9{n}.png" for f in folders[1:] for n in range(3)]
    )
    written(root, "train.csv", table(["image_id", "breed"], map(str, range(8)), LABELS))
    written(root, "sample_submission.csv", table(["image_id", "breed"], ["90", "91", "92"], ["cat"] * 3))
    dataset = open_dataset(root)
    assert is_right(dataset)
    said = " | ".join(dataset.notices)
    assert "sample_submission.csv left out" in said
    assert ("3 pictures that train.csv does not list are left out" in said) == (len(folders) > 1)


# -- the label column ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "more",
    [
        {"text": [f"a photo of something number {n} in the garden" for n in range(8)]},
        {"width": [640, 480] * 4, "height": [480] * 8},
        {"caption": [f"picture {n}" for n in range(8)]},
        {"size": [1.5, 2.5] * 4},
        {"license": ["CC-BY", "CC0"] * 4},
        {"bbox": [f"{n} 0 5 5" for n in range(8)]},
        {"score": [n / 8 for n in range(8)], "year": [2001, 2002] * 4},
    ],
)
def test_captions_and_sizes_are_no_labels(make, ending, more):
    found = grid(["bird", "fish"], 4)
    root = make(found)
    if ending == "csv":
        text = table(["file_name", *more], found, *more.values())
    else:
        rows = [
            dict(zip(["file_name", *more], row, strict=True))
            for row in zip(found, *more.values(), strict=True)
        ]
        text = "\n".join(json.dumps(row) for row in rows)
    written(root, f"metadata.{ending}", text)
    dataset = open_dataset(root)
    assert dataset.class_names == ("bird", "fish") and len(dataset.all_items) == 8
    assert any(
        f"metadata.{ending} is not used: " in text and "folders are used" in text for text in dataset.notices
    )
    with pytest.raises(DataError, match="no column of labels in it|bird"):
        raise DataError(str(open_dataset(root / f"metadata.{ending}").class_names))


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("breed", LABELS),
        ("Art", LABELS),
        ("text", LABELS),
        ("labels", [f"['{label}']" for label in LABELS]),
        ("labels", [json.dumps([label]) for label in LABELS]),
        ("Class Name", [f" {label} " for label in LABELS]),
    ],
)
def test_the_label_column_is_found_by_its_values(make, header, values):
    root = make(FLAT)
    others = [[f"{n}-{n}" for n in range(8)], [640, 480, 480, 640, 640, 480, 640, 480]]
    file = written(
        root, "list.csv", table(["file", "uid", header, "width"], FLAT, others[0], values, others[1])
    )
    assert is_right(open_dataset(file))


def test_lists_of_one_and_of_several_labels(make):
    root = make(FLAT)
    rows = [{"file_name": name, "label": [label]} for name, label in zip(FLAT, LABELS, strict=True)]
    assert is_right(open_dataset(written(root, "metadata.jsonl", "\n".join(map(json.dumps, rows)))))
    rows[3]["label"].append("pet")
    with pytest.raises(DataError, match=r"row 4: 2 labels \(dog, pet\); a picture gets one label"):
        open_dataset(written(root, "metadata.jsonl", "\n".join(map(json.dumps, rows))))
    assert elements("cat") is None and elements("[cat]") == ["cat"] and elements('["a, b"]') == ["a, b"]


def test_class_numbers_with_a_column_of_names(make):
    root = make(FLAT)
    numbers = ["10", "2"] * 4
    dataset = open_dataset(
        written(root, "list.csv", table(["file", "label", "name of it"], FLAT, numbers, LABELS))
    )
    assert dataset.class_keys == ("2", "10") and dataset.class_names == ("dog", "cat")


def test_numbers_that_a_program_wrote_as_fractions(make):
    root = make(FLAT)
    dataset = open_dataset(written(root, "list.csv", table(["file", "label"], FLAT, ["0.0", "1.0"] * 4)))
    assert dataset.class_keys == ("0", "1")


def test_a_doubt_is_an_error_for_a_list_and_a_notice_for_folders(make):
    root = make(grid(["bird", "fish"], 4))
    found = grid(["bird", "fish"], 4)
    written(root, "labels.csv", table(["path", "coarse", "fine"], found, ["x", "y"] * 4, list("aabbccdd")))
    dataset = open_dataset(root)
    assert dataset.class_names == ("bird", "fish")
    assert any("choose one with label_column: coarse, fine" in text for text in dataset.notices)
    with pytest.raises(DataError, match="choose one with label_column: coarse, fine"):
        open_dataset(root / "labels.csv")
    assert len(open_dataset(root, label_column="fine").class_names) == 4


@pytest.mark.parametrize("sign", ["1,0", "True,False", "1.0,0.0", "yes,no"])
def test_one_hot(make, sign):
    yes, no = sign.split(",")
    root = make([f"{split}/{name}" for split in ("train", "valid", "test") for name in FLAT])
    for split in ("train", "valid", "test"):
        hot = [[yes if label == name else no for label in LABELS] for name in ("cat", "dog", "bird")]
        written(root, f"{split}/_classes.csv", table(["filename", " cat", " dog", " bird"], FLAT, *hot))
    dataset = open_dataset(root)
    assert is_right(dataset, 24)
    assert counts(dataset) == {"train": 8, "val": 8, "test": 8} and dataset.split_origin == "given"
    assert "cat, dog, bird (one of them is 1)" in dataset.understood
    hot[2][4] = yes
    written(root, "test/_classes.csv", table(["filename", "cat", "dog", "bird"], FLAT, *hot))
    with pytest.raises(DataError, match=r"line 6: several labels \(cat, bird\)"):
        open_dataset(root / "test/_classes.csv")


# -- splits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "values", "expected"),
    [
        ("is_valid", ["False"] * 6 + ["True"] * 2, {"train": 6, "test": 2}),
        ("is_test", [0] * 6 + [1] * 2, {"train": 6, "test": 2}),
        ("is_train", ["yes"] * 6 + ["no"] * 2, {"train": 6, "test": 2}),
        ("is_training_image", [1] * 6 + [0] * 2, {"train": 6, "test": 2}),
        ("Usage", ["Training"] * 4 + ["PublicTest"] * 2 + ["PrivateTest"] * 2, {"train": 4, "test": 4}),
        ("part", ["train_set"] * 4 + ["val"] * 2 + ["TEST"] * 2, {"train": 4, "val": 2, "test": 2}),
        ("split", ["train"] * 6 + ["eval"] * 2, {"train": 6, "test": 2}),
    ],
)
def test_columns_that_say_the_split(make, header, values, expected):
    root = make(FLAT)
    dataset = open_dataset(written(root, "list.csv", table(["f", "label", header], FLAT, LABELS, values)))
    assert is_right(dataset) and counts(dataset) == expected
    assert dataset.split_origin == "given" and f"splits by {header}" in dataset.understood


def test_two_columns_that_say_the_split(make):
    root = make(FLAT)
    columns = [[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1]]
    file = written(root, "l.csv", table(["f", "label", "is_valid", "is_test"], FLAT, LABELS, *columns))
    assert counts(open_dataset(file)) == {"train": 4, "val": 2, "test": 2}


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "test.csv"),
        ("train_labels.csv", "test_labels.csv"),
        ("labels_training.txt", "labels_test.txt"),
    ],
)
def test_a_list_for_each_split(make, names):
    root = make([f"images/{name}" for name in FLAT])
    for name, part in zip(names, (slice(6), slice(6, 8)), strict=True):
        written(root, name, table(["file", "label"], FLAT[part], LABELS[part]))
    dataset = open_dataset(root)
    assert is_right(dataset) and counts(dataset) == {"train": 6, "test": 2}
    assert dataset.split_origin == "given"
    assert counts(open_dataset(root / names[0])).keys() == {
        "train",
        "val",
        "test",
    }  # it alone: a split is drawn


def test_lists_that_divide_class_folders(make):
    """As Food-101 has them: paths without endings, in lists of a split."""
    found = grid(["apple_pie", "waffles"], 5)
    root = make([f"images/{path}" for path in found])
    stems = [path.removesuffix(".png") for path in found]
    written(root, "meta/train.txt", "\n".join(s for s in stems if s[-1] not in "34") + "\n")
    written(root, "meta/test.txt", "\n".join(s for s in stems if s[-1] == "3") + "\n")
    written(root, "meta/classes.txt", "apple_pie\nwaffles\n")
    dataset = open_dataset(root)
    assert dataset.class_names == ("apple_pie", "waffles") or dataset.class_names == ("apple pie", "waffles")
    assert counts(dataset) == {"train": 6, "test": 2}
    assert any(
        "2 pictures that meta/test.txt, meta/train.txt do not list are left out" in t for t in dataset.notices
    )
    only = make([f"images/{path}" for path in found], "only")
    written(only, "testing_list.txt", "\n".join(path for path in found if path[-5] in "34"))
    assert counts(open_dataset(only)) == {
        "train": 6,
        "test": 4,
    }  # what a test list does not name is for training


def test_numbered_lists_of_the_same_split(make):
    found = grid(["a", "b"], 4)
    root = make([f"images/{path}" for path in found])
    for number in (1, 2, 10):
        written(
            root,
            f"labels/train{number}.txt",
            "\n".join(p for n, p in enumerate(found) if n % 4 != number % 4),
        )
        written(
            root, f"labels/test{number}.txt", "\n".join(p for n, p in enumerate(found) if n % 4 == number % 4)
        )
    dataset = open_dataset(root)
    assert counts(dataset) == {"train": 6, "test": 2}
    assert {item.path[-5] for item in dataset.items("test")} == {"1"}


# -- folders or lists ------------------------------------------------------------------------------------------


def test_other_lists_beside_class_folders_are_named_and_not_used(make):
    found = grid(["cat", "dog"], 4)
    root = make(found)
    written(root, "found.csv", table(["path", "rank", "class"], found, [1] * 8, ["dog", "cat"] * 4))
    dataset = open_dataset(root)
    assert [dataset.class_keys[item.label] == item.path[:3] for item in dataset.all_items] == [True] * 8
    assert any(
        "found.csv lists pictures with labels too and is not used (--labels found.csv" in t
        for t in dataset.notices
    )


def test_numbers_that_go_with_the_folders(make):
    found = grid(["cat", "dog"], 4)
    root = make(found)
    split = ["train"] * 3 + ["test"] + ["train"] * 3 + ["test"]
    written(root, "labels.csv", table(["path", "label", "split"], found, [1] * 4 + [0] * 4, split))
    dataset = open_dataset(root)
    assert dataset.class_names == ("cat", "dog") and counts(dataset) == {"train": 6, "test": 2}
    assert any("the folders name the classes" in text for text in dataset.notices)


def test_a_list_whose_pictures_are_not_there_is_said(make):
    root = make(grid(["cat", "dog"], 4))
    written(root, "labels.csv", "path,label\nx/1.png,a\nx/2.png,b\n")
    dataset = open_dataset(root)
    assert dataset.class_names == ("cat", "dog")
    assert any(
        "labels.csv is not used: none of its pictures is there, for example x/1.png" in t
        for t in dataset.notices
    )


def test_many_texts_beside_pictures_are_no_lists(make):
    """Boxes of detection: a text for each picture."""
    root = make([f"images/{n}.png" for n in range(60)])
    for n in range(60):
        written(root, f"labels/{n}.txt", f"{n % 2} 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DataError, match="only one class"):
        open_dataset(root)


# -- text ------------------------------------------------------------------------------------------------------

PLAIN = table(["path", "label"], FLAT, LABELS)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("\n", ",,\n"),
        PLAIN.replace("\n", ",\n") + ",,\n,,\n",
        "sep=;\n" + PLAIN.replace(",", ";"),
        "sep=,\r\n" + PLAIN.replace("\n", "\r\n"),
        '"sep=\t"\n' + PLAIN.replace(",", "\t"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\n", "\r\n").encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-32"),
        "# my pictures\n# made by me, in May\n" + PLAIN,
        "# " + PLAIN,
        "#" + PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t").encode("utf-16-be"),
        b"\xef\xbb\xbf" + PLAIN.replace(",", " ; ").encode(),
        "\n\n" + PLAIN,
        PLAIN.replace(",", " ").removeprefix("path label\n"),
        PLAIN.replace(",", "   ").removeprefix("path   label\n") + "\n# the end\n",
        "\n".join(f"{n} 1 {label}" for n, label in enumerate(LABELS)),
        json.dumps(dict(zip(FLAT, LABELS, strict=True))),
        "\n".join(f"{n},{label}" for n, label in enumerate(LABELS)),
    ],
)
def test_what_spreadsheets_and_programs_write(make, text):
    assert is_right(open_dataset(written(make(FLAT), "list.csv", text)))


def test_paths_and_labels_with_spaces(make):
    root = make([f"my pics/img_{n}.png" for n in range(8)])
    text = "".join(f"my pics/img_{n}.png {label} of mine\n" for n, label in enumerate(LABELS))
    assert open_dataset(written(root, "list.txt", text)).class_names == ("cat of mine", "dog of mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PLAIN.replace("3.png,dog", "3.png,dog, small"),
            r"line 5: 3 cells for 2 columns \(3.png, dog, small\); put",
        ),
        ("sep=,\n" + PLAIN.replace("3.png,dog", "3.png,dog,small"), "line 6: 3 cells"),
        (
            PLAIN.replace("\n", ",,\n").replace("3.png,dog,,", "3.png,dog,small,"),
            "line 5: 4 cells for 2 columns",
        ),
        (PLAIN + "1.png,cat\n", '1.png is both "dog" and "cat"'),
        (b"PK\x03\x04" + b"\0" * 60, "workbook or an archive|not a complete zip"),
        (b"7z\xbc\xaf\x27\x1c" + b"\0" * 60, "is a 7z archive, not text; unpack it"),
        (b"Rar!\x1a\x07\x01\0" + b"\0" * 60, "is a RAR archive, not text; unpack it"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 60, "is an old workbook, not text; save the sheet as CSV"),
        (gzip.compress(PLAIN.encode(), mtime=0), "holds one packed file and no folder; unpack it"),
        ("# a remark\n" + PLAIN.replace("3.png,dog", "3.png,dog, small"), "line 6: 3 cells"),
        ("{}", "the list is empty"),
        ('{"images": [], "annotations": []}', "annotations for detection or captions name no"),
        (PLAIN.encode("utf-16")[:-1], "is not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_the_line(make, text, message):
    with pytest.raises(DataError, match=message):
        open_dataset(written(make(FLAT), "list.csv", text))


def test_a_label_that_looks_like_several_is_said(make):
    rows = "".join(f"{n}.png,{('cat', 'dog', 'cat|dog', 'dog house')[n % 4]}\n" for n in range(8))
    dataset = open_dataset(written(make(FLAT), "list.csv", "path,label\n" + rows))
    (said,) = [text for text in dataset.notices if "looks like several" in text]
    assert 'the label "cat|dog" looks like several (cat, dog are labels too)' in said


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1),
            st.text(st.characters(exclude_categories=("Cs", "Cc"))),
        ),
        min_size=1,
    ),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_table_that_was_written_is_read(rows, delimiter, encoding):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(["file name", "some label"])
    writer.writerows(rows)
    found = read_table(out.getvalue().encode(encoding), "list.csv")
    kept = [(a.strip(), b.strip()) for a, b in rows if a.strip() or b.strip()]
    assert [(row["file name"], row["some label"]) for row in found.rows] == kept


@settings(deadline=None, max_examples=100)
@example(b"{}")
@given(
    st.binary(max_size=200) | st.text(alphabet="a.png,;\t \n\r\"'[]{}:01#=sep", max_size=120).map(str.encode)
)
@example(b"{}")
def test_any_text_is_read_or_refused(data):
    read_or_refused(data)


KEYS = st.sampled_from(
    ["images", "annotations", "categories", "id", "name", "file_name", "image_id", "category_id"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(0, 3)
    | st.floats()
    | st.sampled_from(["a.png", "b.png", "", "cat"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS | st.sampled_from(["a.png", "0"]), inner, max_size=4)
    ),
    max_leaves=20,
)
ANNOTATED = st.fixed_dictionaries({"images": VALUES, "annotations": VALUES}, optional={"categories": VALUES})


@settings(deadline=None, max_examples=200)
@given(VALUES | ANNOTATED)
def test_any_json_is_read_or_refused(value):
    read_or_refused(json.dumps(value).encode())


def read_or_refused(data):
    try:
        table = read_table(data, "list.csv")
    except VlpromptError as error:
        assert "\n" not in str(error)
    else:
        assert all(set(row) <= set(table.columns) for row in table.rows)


def test_a_list_in_an_archive_finds_its_pictures(tmp_path):
    files = {f"photos/pics/{name}": png(name) for name in FLAT}
    text = table(["id", "breed"], map(str, range(8)), LABELS)
    assert is_right(open_dataset(zipped(tmp_path / "a.zip", {**files, "photos/labels.csv": text})))


def test_arrays_and_series_of_paths(make):
    from vlprompt.data import from_pictures
    from vlprompt.data.many_pictures import list_of_pictures

    root = make(FLAT)
    paths = [str(root / name) for name in FLAT]
    pandas = pytest.importorskip("pandas")
    kinds = [
        np.array(paths),
        np.array(paths, dtype=object),
        np.array(paths).reshape(-1, 1),
        np.array([path.encode() for path in paths]),
        pandas.Series(paths),
        pandas.Series(paths, index=range(8, 0, -1)),
        pandas.DataFrame({"path": paths}),
        iter(paths),
        tuple(map(type(root), paths)),
    ]
    if util.find_spec("pyarrow"):
        import pyarrow

        kinds += [pyarrow.array(paths), pyarrow.chunked_array([paths[:3], paths[3:]])]
    for kind in kinds:
        assert list(map(str, list_of_pictures(kind))) == paths
    dataset = from_pictures(pandas.Series(paths), pandas.Series(LABELS))
    assert dataset.class_names == ("cat", "dog") and dataset.load(dataset.all_items[0]).mode == "RGB"
    assert list_of_pictures(paths[0]) == [paths[0]] and list_of_pictures(np.str_(paths[0])) == [paths[0]]
    assert len(list_of_pictures(np.zeros((3, 4, 4, 3), np.uint8))) == 3
    assert len(list_of_pictures(np.zeros((4, 4, 3), np.uint8))) == 1
    with pytest.raises(DataError, match="give its column of pictures"):
        list_of_pictures(pandas.DataFrame({"path": paths, "label": LABELS}))
