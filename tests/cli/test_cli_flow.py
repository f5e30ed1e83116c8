"""fit, eval, predict, report, one after the other, as a user does."""

import csv
import io
import json

import pytest


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("flow") / "x"


def fitting(pictures, backbone, folder, *more):
    return (
        "fit",
        pictures,
        "--method",
        "coop",
        "--context-tokens",
        2,
        "--shots",
        2,
        "--epochs",
        2,
        "--batch",
        3,
        "--views",
        1,
        "--backbone",
        backbone,
        "--out",
        folder,
        *more,
    )


def test_fit_shows_zero_shot_beside_what_was_learned(vlprompt, pictures, backbone, run_folder):
    said = vlprompt(*fitting(pictures, backbone, run_folder))
    assert said.code == 0, said.err
    for word in (
        "zero-shot",
        "linear probe",
        "CoOp",
        "accuracy",
        "macro F1",
        "change",
        "s training",
        f"run: {run_folder}",
    ):
        assert word in said.out
    assert f"vlprompt eval {run_folder}" in said.out
    assert "fruit: 3 classes, 12 train, 6 test pictures" in said.err
    info = json.loads((run_folder / "run.json").read_text())
    assert info["options"]["context_tokens"] == 2
    assert info["train"]["epochs"] == 2
    assert info["class_names"] == ["blue berry", "green pear", "red apple"]


def test_the_same_fit_is_not_done_again(vlprompt, pictures, backbone, run_folder):
    assert vlprompt(*fitting(pictures, backbone, run_folder)).code == 0  # whichever test is first
    said = vlprompt(*fitting(pictures, backbone, run_folder))
    assert said.code == 0
    assert "finished already" in said.err


def test_another_fit_does_not_overwrite(vlprompt, pictures, backbone, run_folder):
    assert vlprompt(*fitting(pictures, backbone, run_folder)).code == 0  # whichever test is first
    said = vlprompt(*fitting(pictures, backbone, run_folder, "--seed", 5))
    assert said.code == 1
    assert "other settings" in said.lines[-1]
    assert "--overwrite" in said.lines[-1]


def test_eval_of_what_was_recorded(vlprompt, trained):
    said = vlprompt("eval", trained)
    assert said.code == 0
    for word in ("zero-shot", "coop+lamm", "red apple", "green pear", "precision"):
        assert word in said.out
    found = json.loads(vlprompt("eval", trained, "--json").out)
    info = json.loads((trained / "run.json").read_text())
    assert found["scores"]["accuracy"] == info["scores"]["test"]["accuracy"]
    assert found["zero_shot"]["accuracy"] == info["scores"]["zero_shot"]["accuracy"]


def test_eval_on_pictures_gives_the_recorded_scores(vlprompt, trained, pictures):
    found = json.loads(vlprompt("eval", trained, pictures, "--json").out)
    info = json.loads((trained / "run.json").read_text())
    assert found["scores"]["confusions"] == info["scores"]["test"]["confusions"]
    assert found["scores"]["accuracy"] == pytest.approx(info["scores"]["test"]["accuracy"])
    assert found["zero_shot"]["accuracy"] == pytest.approx(info["scores"]["zero_shot"]["accuracy"])
    assert (
        json.loads(vlprompt("eval", trained, pictures, "--split", "train", "--json").out)["scores"]["count"]
        == 12
    )


def test_predict_as_text_json_and_csv(vlprompt, trained, pictures, tmp_path):
    folder = pictures / "test" / "red_apple"
    said = vlprompt("predict", trained, folder, "--top", 2)
    assert said.code == 0, said.err
    assert said.out.count("%") == 4
    rows = [
        json.loads(line)
        for line in vlprompt("predict", trained, f"{folder}/*.png", "--json").out.splitlines()
    ]
    assert [row["path"] for row in rows] == [str(folder / "0.png"), str(folder / "1.png")]
    assert sum(entry["probability"] for entry in rows[0]["top"]) == pytest.approx(1, abs=1e-3)
    table = list(
        csv.DictReader(io.StringIO(vlprompt("predict", trained, folder / "0.png", "--csv", "--top", 1).out))
    )
    assert [row["rank"] for row in table] == ["1"]
    assert table[0]["class"] == rows[0]["top"][0]["class"]


def test_predict_names_broken_pictures_and_goes_on(vlprompt, trained, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    good = pictures / "test" / "red_apple" / "0.png"
    said = vlprompt("predict", trained, broken, tmp_path / "gone.png", good, "--json")
    assert said.code == 0
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["error"] is None for row in rows] == [False, False, True]
    assert str(broken) in said.err
    assert "2 of 3 pictures could not be read" in said.err
    said = vlprompt("predict", trained, broken)
    assert said.code == 1
    assert len([line for line in said.lines if line.startswith("vlprompt: ")]) == 1


def test_report(vlprompt, trained):
    said = vlprompt("report", trained)
    assert said.code == 0
    page = (trained / "report.html").read_text()
    assert said.out.strip() == f"report: {trained / 'report.html'}"
    for part in (
        "CoOp + LAMM on fruit",
        "zero-shot",
        "red apple",
        "vlprompt fit fruit",
        "context_tokens",
        "<svg",
    ):
        assert part in page


def test_quiet_says_nothing_but_results(vlprompt, pictures, backbone, tmp_path):
    said = vlprompt(*fitting(pictures, backbone, tmp_path / "y", "--quiet"))
    assert said.code == 0
    assert said.err == ""
    assert "zero-shot" in said.out
