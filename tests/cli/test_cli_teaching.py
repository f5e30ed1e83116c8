"""teach, sort, check and the choice of fit, through the command line."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def plain(pictures, tmp_path):
    """A folder of class folders without splits: the training pictures of `pictures`."""
    shutil.copytree(pictures / "train", tmp_path / "plain")
    return tmp_path / "plain"


def test_fit_says_what_it_chose_and_gives_json(vlprompt, plain, backbone, tmp_path):
    words = (
        "fit",
        plain,
        "-b",
        backbone,
        "--method",
        "linear_probe",
        "--no-cache",
        "--out",
        tmp_path / "run",
    )
    done = vlprompt(*words)
    assert "95 % sure" in done.out and "linear probe" in done.out and "learned from" in done.out
    found = json.loads(vlprompt(*words, "--json").out)
    assert found["method"] == "linear_probe" and found["reported"] == "cross-validation"
    assert "cross-validation" in vlprompt("eval", tmp_path / "run").out


def test_a_run_is_taught_and_forgets(vlprompt, plain, backbone, tmp_path):
    run = tmp_path / "run"
    vlprompt("fit", plain, "-b", backbone, "--method", "linear_probe", "--no-cache", "--out", run)
    name = sorted(path.name for path in plain.iterdir())[0]
    vlprompt("teach", run, "--rename", f"{name}=thing", "--no-cache")
    found = json.loads(vlprompt("teach", run, "--forget", "thing", "--json", "--no-cache").out)
    assert name not in found["class_names"] and "thing" not in found["class_names"]
    back = vlprompt("teach", run, "--class", "again", plain / name, "--no-cache")
    assert "before:" in back.out
    assert "again" in json.loads((run / "run.json").read_text())["class_names"]
    nothing, wrong = vlprompt("teach", run), vlprompt("teach", run, "--rename", "x")
    assert nothing.code == wrong.code == 2 and "nothing to teach" in nothing.err and "OLD=NEW" in wrong.err


def test_pictures_are_sorted_into_folders(vlprompt, trained, pictures, tmp_path):
    done = vlprompt("sort", trained, pictures / "test", "--out", tmp_path / "sorted", "--coverage", 1)
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == len(list((pictures / "test").rglob("*.png")))
    assert str(tmp_path / "sorted") in done.out
    again = vlprompt("sort", trained, pictures / "test", "--out", tmp_path / "sorted")
    assert again.code == 1 and "not empty" in again.err


def test_a_folder_is_checked(vlprompt, plain, backbone, tmp_path):
    shutil.copy(next(plain.rglob("*.png")), plain / sorted(p.name for p in plain.iterdir())[1] / "copy.png")
    found = json.loads(
        vlprompt("check", plain, "-b", backbone, "--json", "--out", tmp_path / "c.html", "--no-cache").out
    )
    assert any("copy.png" in (pair["first"] + pair["second"]) for pair in found["pairs"])
    assert "copy.png" in (tmp_path / "c.html").read_text()
    assert "almost equal pairs" in vlprompt("check", plain, "-b", backbone, "--no-cache").out


def test_eval_takes_all_pictures_of_a_folder_without_splits(vlprompt, trained, plain, tmp_path):
    one = tmp_path / "one"
    name = sorted(path.name for path in plain.iterdir())[0]
    shutil.copytree(plain / name, one / name)
    found = json.loads(vlprompt("eval", trained, one, "--json", "--no-cache").out)
    assert found["scores"]["count"] == len(list(one.rglob("*.png"))) and "all pictures" in found["data"]
