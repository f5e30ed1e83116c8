"""Parquet files with pictures, and the objects of Hugging Face `datasets`; no network."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from making import png

from vlprompt.data.opening import open_dataset
from vlprompt.errors import DataError, MissingExtra, PictureError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install 'vlprompt[datasets]')")
pq = pytest.importorskip("pyarrow.parquet")

NAMES = ["AnnualCrop", "sea_lake", "river"]


def features(**labels: list[str]) -> dict[bytes, bytes]:
    """The metadata that `datasets` writes into a schema."""
    known = {"image": {"_type": "Image"}} | {
        c: {"names": names, "_type": "ClassLabel"} for c, names in labels.items()
    }
    return {b"huggingface": json.dumps({"info": {"features": known}}).encode()}


def rows(file: Path, labels: list, metadata: dict | None = None, group: int = 2, **more: list) -> Path:
    """A parquet file with a picture for each label."""
    pictures = [{"bytes": png(f"{file.name}{i}"), "path": f"{i}.png"} for i in range(len(labels))]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(pictures, kind), "label": labels, **more})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), file, row_group_size=group)
    return file


def test_a_folder_of_splits(tmp_path):
    place = tmp_path / "set" / "data"
    for split, labels in (("train", [2, 0, 1, 0, 2]), ("validation", [0, 1, 2]), ("test", [1, 0, 2, -1])):
        rows(place / f"{split}-00000-of-00001.parquet", labels, features(label=NAMES))
    dataset = open_dataset(tmp_path / "set")
    assert dataset.name == "set" and dataset.split_kind == "given"
    assert dataset.class_names == ("Annual Crop", "sea lake", "river")  # in the order of the labels
    assert {s: [i.label for i in items] for s, items in dataset.splits.items()} == {
        "train": [2, 0, 1, 0, 2],
        "val": [0, 1, 2],
        "test": [1, 0, 2],
    }
    assert any("1 pictures without a label" in notice for notice in dataset.notices)
    for i, item in enumerate(dataset.items("train")):
        assert dataset.read(item) == png(f"train-00000-of-00001.parquet{i}")
    again = pickle.loads(pickle.dumps(dataset))
    assert again.load(again.items("test")[1]).size == (6, 5) and again.fingerprint == dataset.fingerprint
    identity = dataset.source.identity(dataset.items("val")[0].path)
    assert identity[0].endswith(
        "validation-00000-of-00001.parquet:data/validation-00000-of-00001.parquet/000000"
    )


def test_one_file_is_divided(tmp_path):
    file = rows(tmp_path / "birds.parquet", ["jay", "owl"] * 6)
    dataset = open_dataset(file)
    assert dataset.name == "birds" and dataset.class_names == ("jay", "owl") and dataset.split_kind == "drawn"
    assert len(dataset.all_items) == 12
    renamed = open_dataset(file, classes={"jay": "Eurasian jay"})
    assert renamed.class_names == ("Eurasian jay", "owl")
    with pytest.raises(DataError, match='no column "kind"; '):
        open_dataset(file, label_column="kind")


def test_the_label_column(tmp_path):
    metadata = features(fine=["a", "b", "c", "d"], coarse=["x", "y"])
    table = {
        "fine": [0, 1, 2, 3],
        "coarse": [0, 0, 1, 1],
        "caption": list("wxyz"),
        "split": ["train", "test"] * 2,
    }
    file = rows(tmp_path / "two.parquet", [0] * 4, metadata, **table)
    assert open_dataset(file, label_column="coarse").class_names == ("x", "y")
    assert open_dataset(file, label_column="fine").items("test")[1].label == 3
    pq.write_table(pq.read_table(file).drop(["label"]), file)
    with pytest.raises(DataError, match="which column holds the labels.*fine"):
        open_dataset(file)
    pq.write_table(
        pq.read_table(file).drop(["coarse"]).replace_schema_metadata(features(fine=["a", "b", "c", "d"])),
        file,
    )
    assert open_dataset(file).class_names == ("a", "b", "c", "d")  # the only one whose classes have names


def test_bytes_alone_and_files_beside(tmp_path):
    pictures = [png(str(i)) for i in range(4)]
    pq.write_table(pa.table({"picture": pictures, "class": ["a", "b"] * 2}), tmp_path / "plain.parquet")
    dataset = open_dataset(tmp_path / "plain.parquet")
    assert sorted(dataset.read(item) for item in dataset.all_items) == sorted(pictures)
    (tmp_path / "0.png").write_bytes(pictures[0])
    secret = tmp_path.parent / "secret.png"
    secret.write_bytes(pictures[1])
    cells = [{"bytes": None, "path": p} for p in ("0.png", "../secret.png", str(secret), "none.png")]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array(cells, kind), "label": list("abab"), "split": ["test"] * 4}),
        tmp_path / "beside.parquet",
    )
    dataset = open_dataset(tmp_path / "beside.parquet")
    found = dataset.items("test")
    assert dataset.read(found[0]) == pictures[0]
    for item in found[1:]:
        with pytest.raises(PictureError, match=r"holds no picture|cannot be read"):
            dataset.read(item)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/data/cats/0.png",
            r"only paths such as /data/cats/0.png, which lead out of its folder.*embed_table_storage",
        ),
        ("../0.png", "lead out of its folder"),
        ("cats/0.png", "which are not there: give the folder of pictures"),
        (None, "neither bytes nor paths"),
    ],
)
def test_paths_without_pictures_are_refused_at_once(tmp_path, path, message):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": None, "path": path}] * 4, kind)
    pq.write_table(pa.table({"image": cells, "label": list("abab")}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=f"x.parquet: .*{message}"):
        open_dataset(tmp_path / "x.parquet")


def test_equal_pictures_in_two_splits_are_found(tmp_path):
    from vlprompt.data.dataset import duplicates_across_splits

    file = rows(tmp_path / "x.parquet", ["a", "b", "a", "b"], split=["train", "train", "test", "test"])
    table = pq.read_table(file).to_pydict()
    table["image"][2] = table["image"][0]
    pq.write_table(pa.table(table), file)
    assert len(duplicates_across_splits(open_dataset(file))) == 1


def test_what_cannot_be_read(tmp_path, monkeypatch):
    file = rows(tmp_path / "x.parquet", ["a", "b"])
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    with pytest.raises(DataError, match="damaged, or no parquet file"):
        open_dataset(file)
    file.write_bytes(whole)
    pq.write_table(pa.table({"text": ["a"], "label": ["b"]}), tmp_path / "texts.parquet")
    with pytest.raises(DataError, match="no column of pictures"):
        open_dataset(tmp_path / "texts.parquet")
    both = tmp_path / "both"
    rows(both / "train.parquet", [0, 1], features(label=["a", "b"]))
    rows(both / "test.parquet", [0, 1], features(label=["b", "a"]))
    with pytest.raises(DataError, match="disagree"):
        open_dataset(both)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"vlprompt\[datasets\]"):
        open_dataset(file)


@pytest.fixture
def held(tmp_path, monkeypatch):
    """A DatasetDict of `datasets`, with a split that is none of ours."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip(
        "datasets", reason="datasets is not installed (pip install 'vlprompt[datasets]')"
    )
    kinds = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=NAMES),
            "weight": datasets.Value("float32"),
        }
    )

    def part(labels):
        cells = [{"bytes": png(i), "path": None} for i in range(len(labels))]
        return datasets.Dataset.from_dict(
            {"image": cells, "label": labels, "weight": [0.5] * len(labels)}, features=kinds
        )

    return datasets.DatasetDict(
        {"train": part([0, 1, 2, 0, 1, 2]), "test": part([2, 1, 0]), "unsupervised": part([0])}
    )


def test_the_advice_for_a_folder_of_pictures_that_was_written_as_paths(held, tmp_path):
    import datasets

    cells = []
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(png(i))
        cells.append(str(tmp_path / f"{i}.png"))
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    made = datasets.Dataset.from_dict({"image": cells, "label": [0, 1, 0, 1]}, features=kinds)
    (tmp_path / "out").mkdir()
    made.with_format("arrow").map(datasets.table.embed_table_storage, batched=True).to_parquet(
        str(tmp_path / "out" / "x.parquet")
    )
    dataset = open_dataset(tmp_path / "out" / "x.parquet")
    assert {dataset.read(item) for item in dataset.all_items} == {png(i) for i in range(4)}


def test_objects_of_datasets(held, tmp_path):
    dataset = open_dataset(held)
    assert dataset.class_names == ("Annual Crop", "sea lake", "river")
    assert {s: [i.label for i in items] for s, items in dataset.splits.items()} == {
        "train": [0, 1, 2, 0, 1, 2],
        "test": [2, 1, 0],
    }
    assert dataset.read(dataset.items("test")[1]) == png(1) and dataset.origin is None
    single = open_dataset(held["train"], classes=["one", "two", "three"])
    assert (
        single.class_names == ("one", "two", "three")
        and single.split_kind == "drawn"
        and len(single.all_items) == 6
    )
    with pytest.raises(DataError, match="without streaming"):
        open_dataset(held["train"].to_iterable_dataset())
    with pytest.raises(DataError, match="no column of pictures"):
        open_dataset(held["train"].remove_columns("image"))
    held.save_to_disk(str(tmp_path / "saved"))
    saved = open_dataset(tmp_path / "saved")
    assert saved.name == "saved" and saved.splits == dataset.splits
    (tmp_path / "parts").mkdir()
    held["train"].to_parquet(str(tmp_path / "parts" / "train.parquet"))
    held["test"].to_parquet(str(tmp_path / "parts" / "test.parquet"))
    parts = open_dataset(tmp_path / "parts")
    assert parts.class_names == dataset.class_names
    assert [parts.read(i) for i in parts.items("test")] == [dataset.read(i) for i in dataset.items("test")]
