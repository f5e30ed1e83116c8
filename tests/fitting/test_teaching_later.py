"""Classes and pictures that come later, are forgotten or renamed; folders that are checked; pictures that are sorted."""

import shutil

import numpy as np
import pytest
from PIL import Image
from small_data import COLOURS, picture, picture_folder
from support import save_huggingface

from vlprompt.backbones.loading import load_backbone
from vlprompt.collections.sorting import folder_name, folder_names, sort
from vlprompt.data.changing import changed, reopened
from vlprompt.data.opening import open_dataset
from vlprompt.errors import DataError, RunError
from vlprompt.fitting.checking_data import check_data
from vlprompt.fitting.learning import fit
from vlprompt.fitting.teaching_later import teach
from vlprompt.report.check_page import write_check
from vlprompt.runs.run import Run


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(save_huggingface(tmp_path_factory.mktemp("backbone") / "tiny"))


@pytest.fixture
def folder(tmp_path):
    return picture_folder(tmp_path / "data", {"all": 4}, classes=3) / "all"


@pytest.fixture
def more(tmp_path):
    files = []
    for i in range(4):
        path = tmp_path / f"more{i}.png"
        Image.fromarray(picture(COLOURS["red cat"], i)).save(path)
        files.append(str(path))
    return files


def test_a_run_is_taught_a_class_and_forgets_another(backbone, folder, more, tmp_path):
    run = fit(folder, "linear_probe", backbone, cache=False, out=tmp_path / "run")
    assert len(run.class_names) == 3
    taught = teach(tmp_path / "run", [{"add": "red cat", "files": more}], backbone=backbone, cache=False)
    assert taught.class_names[-1] == "red cat" and taught.info.data.train == 16
    assert taught.predict(more[0])[0].label == "red cat"
    again = Run.load(tmp_path / "run", backbone)
    assert again.class_names == taught.class_names
    after = teach(
        tmp_path / "run",
        [{"forget": "grey fog"}, {"rename": "green dog", "to": "lawn"}],
        backbone=backbone,
        cache=False,
        out=tmp_path / "other",
    )
    assert after.class_names == ("blue sea", "lawn", "red cat") and after.info.data.train == 12
    assert len(reopened(after.info.data.origin).class_names) == 3
    assert Run.load(tmp_path / "run", backbone).class_names == taught.class_names


def test_the_same_pictures_again_are_not_added_twice(folder, more):
    """Who does not know whether an interrupted command had come to its end gives it again."""
    dataset = open_dataset(folder, val_fraction=0, test_fraction=0)
    once = changed(dataset, [{"add": "red cat", "files": more}])
    again = changed(once, [{"add": "red cat", "files": [*more, more[0]]}])
    assert again.all_items == once.all_items and again.origin == once.origin
    mixed = changed(once, [{"add": "red cat", "files": more[:2]}, {"add": "blue sea", "files": more[:1]}])
    assert mixed.counts("train") == [5, 4, 4, 4] and len(mixed.origin["changes"]) == 2
    back = changed(once, [{"forget": "red cat"}, {"add": "red cat", "files": more}])
    assert back.counts("train") == once.counts("train")


def test_pictures_of_one_name_stay_apart_after_a_class_was_forgotten(folder, tmp_path):
    files = []
    for number, name in enumerate(COLOURS):
        files.append(tmp_path / str(number) / "IMG_1.png")
        files[-1].parent.mkdir()
        Image.fromarray(picture(COLOURS[name], number)).save(files[-1])
    dataset = changed(
        open_dataset(folder, val_fraction=0, test_fraction=0),
        [
            {"add": "a", "files": [str(files[0])]},
            {"add": "b", "files": [str(files[1])]},
            {"forget": "a"},
            {"add": "c", "files": [str(files[2])]},
        ],
    )
    read = {item.label: dataset.source.read(item.path) for item in dataset.all_items if "added/" in item.path}
    assert [read[dataset.class_names.index(name)] for name in "bc"] == [f.read_bytes() for f in files[1:3]]


def test_pictures_are_added_to_a_class_that_is_there(folder, more):
    dataset = changed(
        open_dataset(folder, val_fraction=0, test_fraction=0), [{"add": "blue sea", "files": more}]
    )
    assert dataset.counts("train") == [8, 4, 4]
    added = [item for item in dataset.all_items if item.path.startswith("added/")]
    assert len(added) == 4 and dataset.load(added[0]).size == (48, 40)


def test_changes_that_cannot_be_made(backbone, folder, more, tmp_path):
    dataset = open_dataset(folder, val_fraction=0, test_fraction=0)
    for change, said in (
        ({"forget": "blue see"}, 'did you mean "blue sea"'),
        ({"rename": "blue sea", "to": "grey fog"}, "there is one of that name"),
        ({"add": "x", "files": []}, "no pictures"),
        ({"add": "x", "files": [str(tmp_path / "gone.png")]}, "cannot be read"),
        ({"paint": "red"}, "no change"),
    ):
        with pytest.raises(DataError, match=said):
            changed(dataset, [change])
    fit(folder, "linear_probe", backbone, cache=False, out=tmp_path / "run")
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="--data says"):
        teach(tmp_path / "run", [{"forget": "grey fog"}], backbone=backbone, cache=False)


def test_pictures_in_the_wrong_class_duplicates_and_broken_ones_are_found(backbone, tmp_path):
    data = picture_folder(tmp_path / "data", {"all": 8}) / "all"
    wrong = data / "blue sea" / "wrong.png"
    Image.fromarray(picture(COLOURS["red cat"], 77)).save(wrong)
    shutil.copy(data / "green dog" / "0.png", data / "grey fog" / "copy.png")
    (data / "red cat" / "broken.png").write_bytes(b"no picture")
    dataset = open_dataset(data, val_fraction=0, test_fraction=0)
    found = check_data(dataset, backbone)
    doubtful = {doubt.path: doubt for doubt in found.doubts}
    assert "blue sea/wrong.png" in doubtful and doubtful["blue sea/wrong.png"].looks_like == "red cat"
    assert any({p.first, p.second} == {"green dog/0.png", "grey fog/copy.png"} for p in found.contradictions)
    assert [path for path, _ in found.broken] == ["red cat/broken.png"]
    page = write_check(found, dataset, tmp_path / "check.html").read_text()
    assert "wrong.png" in page and "data:image/webp" in page and "broken.png" in page


def test_pictures_are_sorted_and_nothing_is_replaced(backbone, folder, tmp_path):
    run = fit(folder, "linear_probe", backbone, cache=False)
    pictures = sorted(map(str, folder.rglob("*.png")))
    (tmp_path / "broken.png").write_bytes(b"")
    found = sort(run, [*pictures, str(tmp_path / "broken.png")], tmp_path / "out", coverage=None)
    assert sum(found.counts.values()) == 12 and len(found.unreadable) == 1
    assert {path.parent.name for path in (tmp_path / "out").rglob("*.png")} <= {
        "blue sea",
        "green dog",
        "grey fog",
    }
    assert len(list((tmp_path / "out").rglob("*.png"))) == 12  # equal names of other folders stay apart
    with pytest.raises(RunError, match="not empty"):
        sort(run, pictures, tmp_path / "out")
    linked = sort(run, pictures[:2], tmp_path / "links", link=True, coverage=0.5)
    assert (
        all(path.is_symlink() for path in (tmp_path / "links").rglob("*.png"))
        and sum(linked.counts.values()) == 2
    )


def test_long_names_of_files_are_cut_and_none_is_lost(backbone, folder, tmp_path):
    run = fit(folder, "linear_probe", backbone, cache=False)
    files = []
    for place in ("a", "b"):
        for name in ("n" * 251 + ".png", "ü" * 125 + ".png", "x." + "y" * 253):
            path = tmp_path / place / name
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(picture(COLOURS["red cat"], 1)).save(path, "PNG")
            files.append(str(path))
    found = sort(run, files, tmp_path / "out", coverage=None)
    assert sum(found.counts.values()) == 6 == len([p for p in (tmp_path / "out").rglob("*") if p.is_file()])


def test_no_two_classes_share_a_folder():
    names = (
        "a/b",
        "a:b",
        "A_B",
        "unsure",
        "UNSURE",
        "con",
        "Con.x",
        "a_b-2",
        "x" * 300,
        "x" * 300 + "y",
        "ü" * 200,
    )
    found = folder_names(names)
    assert list(found) == list(names) and found["a/b"] == "a_b" and found["Con.x"] == "Con_.x"
    assert len({"unsure", *(place.casefold() for place in found.values())}) == len(names) + 1
    assert all(len(place.encode()) <= 255 for place in found.values())


def test_names_of_folders():
    assert (
        folder_name("a/b: c?") == "a_b_ c_"
        and folder_name("..") == "_"
        and folder_name("unsure") == "unsure_"
    )
    assert np.all([c not in folder_name('<>:"/\\|?*') for c in '<>:"/\\|?*'])


def test_what_comes_later_has_the_epochs_that_were_asked_for(backbone, folder, more, tmp_path):
    """Few pictures were given more epochs for their steps; many later ones do not need these."""
    settings = {"epochs": 2, "least_steps": 12, "batch": 4, "warmup_epochs": 0, "views": "center"}
    run = fit(folder, "coop", backbone, train=settings, cache=False, out=tmp_path / "run")
    assert run.info.training.epochs == 4  # of 3 steps
    taught = teach(tmp_path / "run", [{"add": "red cat", "files": more}], backbone=backbone, cache=False)
    assert taught.info.data.train == 16 and taught.info.training.epochs == 3  # of 4
