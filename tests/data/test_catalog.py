"""Small trees in the layout of every data set of the catalog."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from benchmark_trees import CLASSNAMES, PICTURES, SPLITS, tree, write
from making import png, zipped

from vlprompt.data import catalog
from vlprompt.data.catalog import ENTRIES, find
from vlprompt.data.catalog_checking import check
from vlprompt.data.catalog_reading import open_catalog
from vlprompt.data.opening import open_dataset
from vlprompt.errors import DataError

NAMES = {
    "caltech101": ("face", "car side"),
    "sun397": ("abbey", "indoor apse"),
    "eurosat": ("Annual Crop Land", "Sea or Lake"),
    "oxford_pets": ("abyssinian", "great pyrenees"),
    "ucf101": ("Apply Eye Makeup", "Archery"),
}


def counts(dataset) -> dict[str, int]:
    return {part: len(items) for part, items in dataset.splits.items()}


def test_rows_are_whole():
    assert len(ENTRIES) == 15 and len({entry.name for entry in ENTRIES}) == 15
    for entry in ENTRIES:
        assert entry.template.count("{}") == 1
        assert (entry.reader == "split") == (entry.split is not None)
        assert all(part.source for part in entry.all_parts)
        assert find(entry.title) is entry and find(entry.folder) is entry
    assert find("Flowers102").name == "oxford_flowers" and find("ImageNet-A").name == "imagenet_a"
    with pytest.raises(DataError, match='did you mean "food101"'):
        find("food-10")


@pytest.mark.parametrize("name", PICTURES)
def test_layout_of_the_data_instructions(tmp_path, name):
    entry = find(name)
    write(tmp_path / entry.folder, tree(name))
    dataset = open_catalog(name, tmp_path)
    assert dataset.name == name and dataset.templates == (entry.template,)
    assert dataset.split_kind == "given"  # so few pictures are not the papers' split
    assert any(f"that of the papers {sum(entry.counts.values())}" in notice for notice in dataset.notices)
    assert counts(dataset) == {"train": 4, "val": 4, "test": 4}
    told = tuple(text.partition(" ")[2].replace("_", " ") for text in PICTURES[name])
    assert dataset.class_names == NAMES.get(name, told)
    assert [item.label for item in dataset.items("train")] == [0, 0, 1, 1]
    assert dataset.load(dataset.items("test")[0]).size == (6, 5)
    own = open_dataset(name, root=tmp_path / entry.folder)  # the folder itself does as well
    assert own.items("val") == dataset.items("val")
    report = check(name, tmp_path)
    assert report.usable and not report.complete and report.found["classes"] == 2
    assert any(f"expected {entry.test}" in line for line in report.lines())


@pytest.fixture
def as_small(monkeypatch):
    """Makes the papers' splits of some data sets those of the small trees."""

    def change(**given):
        small = tuple(replace(e, **given[e.name]) if e.name in given else e for e in ENTRIES)
        monkeypatch.setattr(catalog, "ENTRIES", small)

    return change


def test_whose_split_it_is(tmp_path, as_small):
    as_small(
        caltech101={"train": 4, "val": 4, "test": 4},
        eurosat={"train": 4, "val": 4, "test": 4},
        fgvc_aircraft={"train": 2, "val": 2, "test": 2},
    )
    place = write(tmp_path / "caltech-101", tree("caltech101"))
    assert open_catalog("caltech101", tmp_path).split_origin == "papers: split_zhou_Caltech101.json"
    for path in (place, place / "split_zhou_Caltech101.json"):  # told by the file, without the catalog's name
        assert open_dataset(path).split_kind == "papers"
    (place / "101_ObjectCategories" / "Faces" / "image_0000.jpg").unlink()
    assert open_catalog("caltech101", tmp_path).split_kind == "incomplete"
    assert open_dataset(place).split_kind == "given"
    write(tmp_path / "eurosat", {p: d for p, d in tree("eurosat").items() if "split_zhou" not in p})
    assert open_catalog("eurosat", tmp_path).split_kind == "drawn"
    write(tmp_path / "fgvc_aircraft", AIRCRAFT)
    assert open_catalog("fgvc_aircraft", tmp_path).split_kind == "papers"  # its own lists are what papers use
    write(
        tmp_path / "food-101",
        {
            **{f"images/{c}/{i}.jpg": png(f"{c}{i}") for c in ("apple_pie", "sushi") for i in range(2)},
            "meta/train.txt": "apple_pie/0\nsushi/0\n",
            "meta/test.txt": "apple_pie/1\nsushi/1\n",
        },
    )
    assert open_catalog("food101", tmp_path).split_origin == "given: the official split"


@pytest.mark.parametrize("name", ["caltech101", "dtd", "eurosat"])
@pytest.mark.parametrize("inside", ["", "whatever/"])
def test_archives(tmp_path, name, inside):
    zipped(tmp_path / f"{name}.zip", {inside + path: data for path, data in tree(name).items()})
    for root in (tmp_path, tmp_path / f"{name}.zip"):
        with open_catalog(name, root) as dataset:
            assert counts(dataset) == {"train": 4, "val": 4, "test": 4}
    assert check(name, tmp_path).missing == ()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("caltech101", "caltech101/caltech-101"),
        ("food101", "food101"),
        ("dtd", "dtd/dtd"),
        ("oxford_flowers", "flowers-102"),
    ],
)
def test_other_folders_of_mirrors(tmp_path, name, folder):
    files = tree(name)
    split = find(name).split.path
    outer = folder.partition("/")[0]
    write(tmp_path / folder, {path: data for path, data in files.items() if path != split})
    write(tmp_path / outer, {split: files[split]})
    assert counts(open_catalog(name, tmp_path)) == {"train": 4, "val": 4, "test": 4}


@pytest.mark.parametrize("name", ["caltech101", "sun397", "eurosat", "ucf101"])
def test_class_folders_without_the_split_file(tmp_path, name):
    entry = find(name)
    files = {path: data for path, data in tree(name).items() if path != entry.split.path}
    if name == "caltech101":
        files["101_ObjectCategories/BACKGROUND_Google/image_0001.jpg"] = png("google")
        files["101_ObjectCategories/Faces_easy/image_0001.jpg"] = png("easy")
    dataset = open_catalog(name, write(tmp_path / entry.folder, files).parent)
    assert set(dataset.class_names) == set(NAMES[name])
    assert len(dataset.all_items) == 12 and "drawn" in dataset.split_origin
    assert any(entry.split.path in notice and "differ" in notice for notice in dataset.notices)
    report = check(name, tmp_path)
    assert report.usable and not report.complete
    assert [part.path for part in report.absent] == [entry.split.path]


def test_official_splits(tmp_path):
    write(
        tmp_path / "food-101",
        {
            **{f"images/{c}/{i}.jpg": png(f"{c}{i}") for c in ("apple_pie", "sushi") for i in range(3)},
            "meta/train.txt": "apple_pie/0\napple_pie/1\nsushi/0\n",
            "meta/test.txt": "apple_pie/2\nsushi/1\nsushi/2\n",
        },
    )
    food = open_catalog("food101", tmp_path)
    assert counts(food) == {"train": 3, "test": 3} and food.class_names == ("apple pie", "sushi")
    write(
        tmp_path / "oxford-iiit-pet",
        {
            **{
                f"images/{c}_{i}.jpg": png(f"{c}{i}")
                for c in ("Abyssinian", "great_pyrenees")
                for i in (1, 2)
            },
            "annotations/trainval.txt": "Abyssinian_1 1 1 1\ngreat_pyrenees_1 2 2 1\n",
            "annotations/test.txt": "# a remark\nAbyssinian_2 1 1 1\ngreat_pyrenees_2 2 2 1\n",
        },
    )
    pets = open_catalog("oxford_pets", tmp_path)
    assert counts(pets) == {"train": 2, "test": 2} and pets.class_names == ("abyssinian", "great pyrenees")
    write(
        tmp_path / "dtd",
        {
            **{f"images/{c}/{c}_{i}.jpg": png(f"{c}{i}") for c in ("banded", "woven") for i in (1, 2, 3)},
            **{
                f"labels/{s}1.txt": f"banded/banded_{i}.jpg\nwoven/woven_{i}.jpg\n"
                for i, s in enumerate(SPLITS, 1)
            },
        },
    )
    assert counts(open_catalog("dtd", tmp_path)) == {"train": 2, "val": 2, "test": 2}


def test_what_cannot_be_told_without_the_split_file(tmp_path):
    for name in ("stanford_cars", "oxford_flowers", "oxford_pets"):
        entry = find(name)
        write(tmp_path / entry.folder, {p: d for p, d in tree(name).items() if p != entry.split.path})
        with pytest.raises(DataError, match=entry.split.path):
            open_catalog(name, tmp_path)
        report = check(name, tmp_path)
        assert not report.usable
        assert any("CoOp" in line for line in report.lines() if entry.split.path in line)


AIRCRAFT = {
    "variants.txt": "707-320\nBoeing 717\n",
    **{
        f"images_variant_{split}.txt": f"000{i} Boeing 717\n001{i} 707-320\n"
        for i, split in enumerate(SPLITS)
    },
    **{f"images/00{c}{i}.jpg": png(f"{c}{i}") for c in (0, 1) for i in range(3)},
}


@pytest.mark.parametrize("folder", ["fgvc_aircraft", "fgvc-aircraft-2013b/data"])
def test_aircraft(tmp_path, folder):
    write(tmp_path / folder, AIRCRAFT)
    dataset = open_catalog("fgvc_aircraft", tmp_path)
    assert dataset.class_names == ("707-320", "Boeing 717")
    assert [(item.path.rpartition("/")[2], item.label) for item in dataset.items("val")] == [
        ("0001.jpg", 1),
        ("0011.jpg", 0),
    ]
    (tmp_path / folder / "images_variant_val.txt").unlink()
    with pytest.raises(DataError, match=r"images_variant_val.txt is missing"):
        open_catalog("fgvc_aircraft", tmp_path)
    assert check("fgvc_aircraft", tmp_path).missing[0].path == "images_variant_val.txt"


KEYS = [line.split(" ")[0] for line in CLASSNAMES.splitlines()]


@pytest.mark.parametrize("pictures", ["images/", "", "ILSVRC/Data/CLS-LOC/"])
def test_imagenet(tmp_path, pictures):
    files = {
        f"{pictures}{part}/{key}/{i}.JPEG": png(f"{part}{key}{i}")
        for part in ("train", "val")
        for key in KEYS
        for i in (0, 1)
    }
    write(tmp_path / "imagenet", files | {"classnames.txt": CLASSNAMES})
    dataset = open_catalog("imagenet", tmp_path)
    assert counts(dataset) == {"train": 8, "test": 8}
    assert dataset.class_names == ("tench", "goldfish", "missile", "projectile")
    assert dataset.class_keys == tuple(KEYS)
    assert any("missile" in notice for notice in dataset.notices)
    (tmp_path / "imagenet" / "classnames.txt").unlink()
    with pytest.raises(DataError, match=r"classnames.txt is missing"):
        open_catalog("imagenet", tmp_path)


def test_imagenet_validation_pictures_without_folders(tmp_path):
    files = {f"images/train/{key}/0.JPEG": png(key) for key in KEYS} | {
        "images/val/ILSVRC2012_val_00000001.JPEG": png(1)
    }
    write(tmp_path / "imagenet", files | {"classnames.txt": CLASSNAMES})
    with pytest.raises(DataError, match="sort them"):
        open_catalog("imagenet", tmp_path)


@pytest.mark.parametrize("name", ["imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"])
@pytest.mark.parametrize("beside", [False, True])
def test_variants_of_imagenet(tmp_path, name, beside):
    entry = find(name)
    some = KEYS if name in ("imagenetv2", "imagenet_sketch") else [KEYS[1], KEYS[3]]
    folders = [str(KEYS.index(key)) for key in some] if name == "imagenetv2" else some
    write(
        tmp_path / entry.folder,
        {f"{entry.pictures.path}{f}/{i}.jpg": png(f"{f}{i}") for f in folders for i in (0, 1)},
    )
    write(tmp_path / ("imagenet" if beside else entry.folder), {"classnames.txt": CLASSNAMES})
    write(tmp_path / entry.folder, {f"{entry.pictures.path}README.txt": "about"})
    dataset = open_catalog(name, tmp_path)
    assert dataset.class_keys == tuple(some)
    assert counts(dataset) == {"test": 2 * len(some)}
    assert check(name, tmp_path).missing == ()


def test_check_counts_what_is_there_and_names_what_is_not(tmp_path):
    names = ("2012 Tesla Model S", "2000 AM General Hummer SUV")
    split = {
        part: [
            [f"cars_{'test' if part == 'test' else 'train'}/{part}{i}.jpg", i, name]
            for i, name in enumerate(names)
        ]
        for part in SPLITS
    }
    cars = {f"cars_train/{part}{i}.jpg": png(f"{part}{i}") for part in ("train", "val") for i in (0, 1)}
    write(tmp_path / "stanford_cars", cars | {"split_zhou_StanfordCars.json": json.dumps(split)})
    report = check("stanford_cars", tmp_path)
    assert [part.path for part in report.missing] == ["cars_test/"]
    assert (
        report.usable
        and not report.complete
        and report.found == {"classes": 2, "train": 2, "val": 0, "test": 2}
    )
    assert "val: 0, expected 1635" in report.lines() and "test: 2, expected 8041" in report.lines()
    assert "note: there is no test split; the validation pictures are used for testing" in report.lines()

    write(
        tmp_path / "imagenet",
        {f"images/train/{key}/0.JPEG": png(key) for key in KEYS} | {"classnames.txt": CLASSNAMES},
    )
    report = check("imagenet", tmp_path)
    assert [part.path for part in report.missing] == ["images/val/"]
    assert not report.usable and report.found == {"classes": 4, "train": 4, "test": 0}
    lines = report.lines()
    assert "test: 0, expected 50000" in lines and any(
        line.startswith("missing: images/val/, from image-net.org") for line in lines
    )
    (tmp_path / "imagenet" / "classnames.txt").unlink()
    assert check("imagenet", tmp_path).found == {}

    food = {path: data for path, data in tree("food101").items() if not path.startswith("images/")}
    (write(tmp_path / "food-101", food) / "images" / "apple_pie").mkdir(parents=True)
    report = check("food101", tmp_path)
    assert [part.path for part in report.missing] == ["images/"] and not report.usable
    assert "no pictures in its images/; they come from data.vision.ee.ethz.ch" in (report.problem or "")


def test_sources_can_be_put_into_a_sentence():
    for entry in ENTRIES:
        assert not any(part.source.startswith("in ") for part in entry.all_parts)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="caltech-101.*data.caltech.edu"):
        open_catalog("caltech101", tmp_path)
    report = check("caltech101", tmp_path)
    assert not report.usable and report.place is None
    assert any("101_ObjectCategories/" in line and "caltech.edu" in line for line in report.lines())


def test_a_data_set_is_not_taken_for_another(tmp_path):
    write(tmp_path / "photos", {f"images/{c}/{i}.jpg": png(f"{c}{i}") for c in ("a", "b") for i in range(3)})
    for name in ("dtd", "food101", "imagenet", "oxford_pets"):
        with pytest.raises(DataError, match="looked for"):
            open_catalog(name, tmp_path / "photos")


@pytest.mark.parametrize(("name", "classes"), [("caltech101", 100), ("eurosat", 10)])
def test_larger_sets_with_their_own_splits(shared_sets, name, classes):
    if not (shared_sets / f"{name}.zip").is_file():
        pytest.skip(f"{name}.zip is not there")
    with open_catalog(name, shared_sets) as dataset:
        assert len(dataset.class_names) == classes
        assert {"face", "car side"} < set(dataset.class_names) or dataset.class_names[0] == "Annual Crop Land"
        assert any("not that of the papers" in notice for notice in dataset.notices)
        assert dataset.load(dataset.items("test")[0]).mode == "RGB"
    report = check(name, shared_sets)
    assert report.usable and not report.complete and report.found["classes"] == classes
