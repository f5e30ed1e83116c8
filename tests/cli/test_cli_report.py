"""report of runs and of results; fit --calibrate; predict --reject."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from vlprompt.runs.info import read_info
from vlprompt.runs.run import Run
from vlprompt.scoring.rejection import threshold_of

RECORD = {"protocol": "few_shot", "data": "fruit", "backbone": "tiny", "shots": 1, "seed": 1, "seconds": 1.0}


@pytest.fixture(scope="module")
def sure(pictures: Path, backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with validation pictures, which are those of the test split again."""
    from vlprompt.fitting.learning import fit

    data = tmp_path_factory.mktemp("data") / "fruit"
    shutil.copytree(pictures, data)
    shutil.copytree(data / "test", data / "val")
    folder = tmp_path_factory.mktemp("runs") / "sure"
    fit(
        data,
        "lamm",
        shots=2,
        backbone=backbone,
        out=folder,
        train={"epochs": 2, "batch": 4, "views": 1},
        cache=False,
    )
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    lines = [
        RECORD
        | {
            "method": method,
            "shots": shots,
            "seed": seed,
            "accuracy": 50.0 + shots + seed + 5 * len(method),
            "zero_shot": 40.0,
        }
        for method in ("coop", "coop+lamm")
        for shots in (1, 4)
        for seed in (1, 2)
    ]
    path = tmp_path / "found.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_unknown_in_text_json_and_csv(vlprompt, sure, pictures):
    info = read_info(sure)
    wanted = Run.load(sure, device="cpu")
    found = json.loads(
        vlprompt("predict", sure, pictures / "test", "--json", "--coverage", 0.2).out.splitlines()[0]
    )
    assert threshold_of(info, 0.2, by_likeness=True) > threshold_of(info, by_likeness=True)
    rows = [
        json.loads(line)
        for line in vlprompt("predict", sure, pictures / "test", "--json", "--coverage", 0.2).out.splitlines()
    ]
    assert found["top"][0]["class"] in info.class_names
    unsure = wanted.unknown([row["path"] for row in rows], 0.2).tolist()
    assert [row["label"] == "unknown" for row in rows] == unsure and any(unsure)
    table = list(
        csv.DictReader(
            io.StringIO(vlprompt("predict", sure, pictures / "test", "--csv", "--coverage", 0.2).out)
        )
    )
    assert [row["class"] == "unknown" for row in table if row["rank"] == "1"] == unsure
    text = vlprompt("predict", sure, pictures / "test", "--top", 1, "--coverage", 0.2).out
    assert text.count("unknown") == sum(unsure) and "nearest:" in text
    assert vlprompt("predict", sure, pictures / "test", "--reject").code == 0
    assert "unknown" not in vlprompt("predict", sure, pictures / "test").out


def test_a_coverage_that_cannot_be_had_is_one_line(vlprompt, sure, trained, pictures):
    said = vlprompt("predict", sure, pictures / "test", "--coverage", 2)
    assert said.code == 2 and "--coverage is 2" in said.lines[-1]
    assert (
        vlprompt("predict", trained, pictures / "test", "--reject").code == 0
    )  # by likeness, from its training pictures


def test_fit_calibrates_a_finished_run(vlprompt, sure, backbone, tmp_path):
    data = json.loads((sure / "run.json").read_text())["data"]["origin"]["path"]
    folder = tmp_path / "run"
    shutil.copytree(sure, folder)
    words = (
        "fit",
        data,
        "--method",
        "lamm",
        "--shots",
        2,
        "--epochs",
        2,
        "--batch",
        4,
        "--views",
        1,
        "--backbone",
        backbone,
        "--out",
        folder,
    )
    said = vlprompt(*words, "--calibrate")
    assert said.code == 0, said.err
    assert "finished already" in " ".join(said.err.split())
    assert json.loads((folder / "run.json").read_text())["calibration"]["applied"] is True


def test_calibrate_needs_validation_pictures(vlprompt, pictures, backbone, tmp_path):
    said = vlprompt("fit", pictures, "--backbone", backbone, "--out", tmp_path / "x", "--calibrate")
    assert said.code == 2 and "no validation pictures" in said.lines[-1]


def test_report_of_a_run(vlprompt, sure, tmp_path):
    said = vlprompt("report", sure, "--out", tmp_path / "page.html")
    assert said.code == 0, said.err
    assert said.out.strip() == f"report: {tmp_path / 'page.html'}"
    page = (tmp_path / "page.html").read_text()
    for part in ("LAMM on fruit", "Class names that moved", "Reliability", "linear probe"):
        assert part in page
    with Image.open(tmp_path / "page-figures" / "sureness.png") as picture:
        assert picture.size[0] > 1000
    assert "<svg" in (tmp_path / "page-figures" / "confusion.svg").read_text()


def test_report_of_results(vlprompt, results):
    said = vlprompt("report", results)
    assert said.code == 0, said.err
    path = results.with_name("found-report.html")
    assert said.out.strip() == f"report: {path}"
    page = path.read_text()
    assert (
        "2 methods on fruit" in page
        and "Few shots" in page
        and "<svg" in page
        and "prefers-color-scheme" in page
    )
    assert "coop+lamm is best" in page and "100.5 %" in page  # four shots, mean of two seeds
    assert {p.name for p in results.with_name("found-report-figures").iterdir()} == {
        "few_shot.png",
        "few_shot.svg",
    }


def test_mistakes_are_one_line(vlprompt, sure, results, tmp_path):
    for words, text in (
        ((tmp_path / "nowhere",), "no such run folder"),
        ((sure, results), "one run at a time"),
        ((results, "--quick"), "belong to the report of a run folder"),
        ((sure, "--data", tmp_path / "gone"), "no such file"),
    ):
        said = vlprompt("report", *words)
        assert said.code in (1, 2) and text in said.lines[-1], said.err
