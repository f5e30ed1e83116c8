"""Reports of small real runs, one for each family of methods: whatever was learned, there is a whole page."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from small_data import picture_folder
from support import tiny_backbone

from vlprompt.errors import DataError, RunError
from vlprompt.fitting.learning import fit
from vlprompt.fitting.measuring import Measure
from vlprompt.fitting.probe_beside import probe_beside
from vlprompt.report.run_report import figures_of, write_report
from vlprompt.report.thumbnails import heat, thumbnail
from vlprompt.report.what_can_be_shown import gather_evidence
from vlprompt.runs.predictions_file import FILE as PREDICTIONS
from vlprompt.runs.predictions_file import read_predictions
from vlprompt.runs.run import Run

TRAIN = {"epochs": 2, "batch": 6, "views": 1, "warmup_epochs": 0}
FAMILIES = (
    "zeroshot",
    "linear_probe",
    "tip_adapter",
    "coop",
    "cocoop",
    "proda",
    "vpt",
    "ivlp",
    "maple",
    "lamm",
    "maple+lamm",
    "ctp",
    "tft",
    "ctp+tft+lamm",
)
SMALL = {"maple": {"depth": 2}, "maple+lamm": {"depth": 2}, "proda": {"prompts": 4, "context_tokens": 2}}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp("data"), {"train": 2, "val": 3, "test": 3})


def learned(data, backbone, method, out, **more):
    return fit(
        data,
        method,
        shots=2,
        backbone=backbone,
        out=out,
        options=SMALL.get(method),
        train=TRAIN,
        cache=False,
        command="vlprompt fit x",
        **more,
    )


@pytest.fixture(scope="module")
def run(data, backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "x"
    learned(data, backbone, "coop+lamm", folder)
    return folder


def part_of(page, heading):
    """What stands below a heading of a page."""
    return page.split(f"<h2>{heading}</h2>")[1].split("<h2>")[0]


@pytest.mark.parametrize("method", FAMILIES)
def test_every_family_has_a_whole_page(method, data, backbone, tmp_path):
    if method in ("linear_probe",):
        pytest.importorskip("sklearn")
    found = learned(data, backbone, method, tmp_path / "run")
    page = write_report(tmp_path / "run", backbone=backbone, figures=False, probe=probe_beside).read_text()
    assert not re.search(r'(?:src|href)="(?!#|data:)', page) and "@import" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert (
        f"{found.scores['zero_shot']['accuracy']:.1f} %" in page
        and f"{found.scores['test']['accuracy']:.1f} %" in page
    )
    assert "Reliability" in page and "vlprompt fit x" in page and "torch" in part_of(page, "How it was made")
    assert "MiB" in part_of(page, "How it was made")
    if found.scores["test"]["accuracy"] < 100:
        assert "data:image/webp;base64," in part_of(page, "Mistakes") and "Surest mistakes" in page
    base = method.removesuffix("+lamm")
    assert ("Class names that moved" in page) == method.endswith("lamm")
    assert ("Context tokens" in page) == (
        base not in ("zeroshot", "linear_probe", "tip_adapter", "vpt", "lamm")
    )
    assert ("Where the prompts look" in page) == base.startswith("ctp")
    assert ("linear probe on the same pictures" in page) == (method != "linear_probe")


def test_every_scored_picture_is_in_the_predictions(run, data):
    info = json.loads((run / "run.json").read_text())
    rows = read_predictions(run)
    assert {row.split for row in rows} == {"test", "val"} and len(rows) == 20  # 2 of 3 validation pictures
    test = read_predictions(run, "test")
    assert sum(row.right for row in test) == info["scores"]["test"]["correct"]
    assert sum(row.zero_shot == row.true for row in test) == info["scores"]["zero_shot"]["correct"]
    assert all((data / row.path).is_file() for row in rows)
    assert all(0 < row.probability <= 1 and 0 < row.calibrated <= 1 for row in rows)


def test_the_temperature_is_applied_when_asked_for_and_changes_no_answer(run, data, backbone, tmp_path):
    plain = Run.load(run, backbone)
    assert not plain.calibrated and plain.temperature == 1
    pictures = sorted((data / "test").rglob("*.png"))
    own = learned(data, backbone, "coop+lamm", tmp_path / "calibrated", measure=Measure(calibrate=True))
    assert own.calibrated and own.temperature == plain.info.calibration.temperature != 1
    sharp, mended = (
        plain.probabilities(pictures),
        Run.load(tmp_path / "calibrated", backbone).probabilities(pictures),
    )
    assert (sharp.argmax(1) == mended.argmax(1)).all() and not np.allclose(sharp, mended)
    assert np.allclose(
        mended,
        np.exp(np.log(sharp) / own.temperature)
        / np.exp(np.log(sharp) / own.temperature).sum(1, keepdims=True),
        atol=1e-3,
    )
    held = {row.path: row for row in read_predictions(tmp_path / "calibrated", "test")}
    for picture, row in zip(pictures, mended, strict=True):
        assert held[picture.relative_to(data).as_posix()].calibrated == pytest.approx(row.max(), abs=1e-3)
    assert "It is applied." in write_report(tmp_path / "calibrated", quick=True, figures=False).read_text()


def test_a_finished_run_is_calibrated_without_training_again(run, data, backbone, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    records = []
    again = learned(
        data,
        backbone,
        "coop+lamm",
        tmp_path / "copy",
        measure=Measure(calibrate=True),
        progress=records.append,
    )
    assert again.calibrated and Run.load(tmp_path / "copy", backbone).calibrated
    assert not any(record["event"] == "training" for record in records)
    assert read_predictions(tmp_path / "copy") == read_predictions(run)
    assert learned(data, backbone, "coop+lamm", tmp_path / "copy").calibrated
    assert not learned(
        data, backbone, "coop+lamm", tmp_path / "copy", measure=Measure(calibrate=False)
    ).calibrated


def test_the_threshold_gives_the_coverage_on_validation_pictures(run, data, backbone):
    loaded = Run.load(run, backbone)
    pictures = [data / row.path for row in read_predictions(run, "val")]
    for coverage in (0.25, 0.5, 1.0):
        answered = [not found.rejected for found in loaded.predict(pictures, reject=coverage)]
        assert np.mean(answered) >= coverage
    unsure = [found for found in loaded.predict(pictures, reject=0.25) if found.rejected]
    assert unsure and all(found.label == "unknown" and found.top for found in unsure)
    assert not any(found.rejected for found in loaded.predict(pictures))


def test_pictures_that_are_gone_are_said_and_not_fatal(data, backbone, tmp_path):
    moved = tmp_path / "data"
    shutil.copytree(data, moved)
    learned(moved, backbone, "ctp", tmp_path / "run")
    moved.rename(tmp_path / "elsewhere")
    page = write_report(tmp_path / "run", backbone=backbone, figures=False, probe=probe_beside).read_text()
    assert "Without pictures:" in page and "--data says where they are" in page and "No heat maps" in page
    assert "data:image" not in page
    found = write_report(
        tmp_path / "run", backbone=backbone, figures=False, data=str(tmp_path / "elsewhere")
    ).read_text()
    assert "data:image/webp" in found and "Without pictures" not in found
    for path in (tmp_path / "elsewhere" / "test").rglob("0.png"):
        path.unlink()
    some = write_report(
        tmp_path / "run", backbone=backbone, figures=False, data=str(tmp_path / "elsewhere")
    ).read_text()
    assert "4 of the 12 scored pictures are no longer there" in some
    assert "linear probe on the same pictures" in some  # from the run's own record
    with pytest.raises(DataError, match="no such file"):
        write_report(tmp_path / "run", data=str(tmp_path / "nowhere"))


def test_without_backbone_or_predictions_the_rest_is_there(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    info = json.loads((tmp_path / "copy" / "run.json").read_text())
    info["backbone"]["source"] = str(tmp_path / "gone")
    (tmp_path / "copy" / "run.json").write_text(json.dumps(info))
    (tmp_path / "copy" / PREDICTIONS).unlink()
    page = write_report(tmp_path / "copy", tmp_path / "page.html").read_text()
    assert "its backbone cannot be loaded" in page and "no predictions.csv" in page
    assert "Every class" in page
    assert {"curves.png", "confusion.png", "confusion.svg"} <= {
        path.name for path in figures_of(tmp_path / "page.html").iterdir()
    }


def test_quick_reads_the_run_folder_only(run, tmp_path):
    found = gather_evidence(run, quick=True)
    assert found.run is None and found.dataset is None and len(found.said) == 12
    assert found.probe is not None  # the run has it in its own record
    page = write_report(run, tmp_path / "quick.html", quick=True, figures=False).read_text()
    assert "left out, as asked for" in page


def test_a_run_without_validation_pictures_has_no_temperature_and_rejects_by_likeness(backbone, tmp_path):
    folder = picture_folder(tmp_path / "data", {"train": 2, "test": 2})
    own = learned(folder, backbone, "coop", tmp_path / "run")
    assert own.info.calibration is None
    assert own.info.rejection.chosen_on == "cross-validation" and not own.info.rejection.thresholds
    assert own.predict([next(folder.rglob("*.png"))], reject=True)[0].error is None
    with pytest.raises(RunError, match="no temperature"):
        own.calibrate()
    page = write_report(tmp_path / "run", quick=True, figures=False).read_text()
    assert "No temperature was fitted" in page


def test_thumbnails_and_heat_maps():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8))
    assert thumbnail(picture).startswith("data:image/webp;base64,") and picture.size == (300, 200)
    weights = np.zeros((4, 4))
    weights[0, 3] = 1
    map_ = np.asarray(heat(picture.resize((144, 144)), weights), float).mean(-1)
    assert map_[:36, 108:].mean() > map_[108:, :36].mean() + 50
    assert heat(picture, np.ones((2, 2))).size == (144, 144)
