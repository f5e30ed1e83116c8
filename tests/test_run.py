import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_data import picture_folder, pictures_and_labels
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.opening import open_dataset
from vlprompt.errors import RunError
from vlprompt.fitting.learning import fit
from vlprompt.runs.records import read_log
from vlprompt.runs.run import Run

TRAIN = {"epochs": 1, "batch": 6, "views": 1, "warmup_epochs": 0}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture
def saved(backbone, data, tmp_path):
    fit(data, "coop+lamm", shots=2, backbone=backbone, train=TRAIN, cache=False, out=tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", [n for n in methods.names() if "maple" not in n])
def test_a_loaded_run_predicts_what_the_trained_one_does(backbone, data, tmp_path, name):
    run = fit(data, name, shots=2, backbone=backbone, train=TRAIN, cache=False)
    run.save(tmp_path / "copy")
    loaded = Run.load(tmp_path / "copy", backbone)
    pictures, _ = pictures_and_labels(1)
    assert np.array_equal(run.probabilities(pictures), loaded.probabilities(pictures))
    assert loaded.scores == json.loads(json.dumps(run.scores))
    assert loaded.log == json.loads(json.dumps(run.log))


def test_predictions_rank_classes_and_say_what_cannot_be_read(backbone, saved, data, tmp_path):
    run = Run.load(saved, backbone)
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    good = data / "test" / "red cat" / "0.png"
    first, second, third = run.predict([good, tmp_path / "bad.jpg", good.read_bytes()], top=2)
    assert len(first.top) == 2 and first.top[0][1] >= first.top[1][1] and first.label == first.top[0][0]
    assert second.label is None and "bad.jpg" in second.error
    assert [name for name, _ in third.top] == [name for name, _ in first.top]
    assert len(run.predict(good, top=99)[0].top) == 4
    assert run.predict([]) == []
    assert run.predict(Image.open(good))[0].label == first.label


def test_scores_are_those_of_the_fit_also_when_classes_come_in_another_order(backbone, saved, data):
    run = Run.load(saved, backbone)
    dataset = open_dataset(data)
    assert run.evaluate(dataset).accuracy == run.scores["test"]["accuracy"]
    order = [2, 0, 3, 1]
    names = tuple(dataset.class_names[i] for i in order)
    items = [type(i)(i.path, order.index(i.label)) for i in dataset.items("test")]
    shuffled = type(dataset)("shuffled", names, names, {"test": items}, dataset.source)
    assert run.evaluate(shuffled).accuracy == run.scores["test"]["accuracy"]


def test_other_classes_are_kept_with_what_was_learned(backbone, saved, tmp_path):
    run = Run.load(saved, backbone).for_classes(["red cat", "yellow bus"])
    pictures, _ = pictures_and_labels(1)
    run.save(tmp_path / "other")
    again = Run.load(tmp_path / "other", backbone)
    assert again.class_names == ("red cat", "yellow bus")
    assert np.array_equal(run.probabilities(pictures), again.probabilities(pictures))
    assert again.learned.task.class_names == Run.load(saved, backbone).class_names


def test_another_backbone_is_refused_by_name(saved):
    with pytest.raises(RunError, match="not on"):
        Run.load(saved, tiny_backbone(7))


@pytest.mark.parametrize("name", ["run.json", "prompts.safetensors"])
def test_damaged_and_missing_files_are_clear_errors(backbone, saved, name):
    whole = (saved / name).read_bytes()
    for content in (b"", whole[: len(whole) // 2], None):
        if content is None:
            (saved / name).unlink()
        else:
            (saved / name).write_bytes(content)
        with pytest.raises(RunError) as caught:
            Run.load(saved, backbone)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_newer_runs_are_clear_errors(backbone, saved, tmp_path):
    with pytest.raises(RunError, match="no such run folder"):
        Run.load(tmp_path / "nowhere", backbone)
    info = json.loads((saved / "run.json").read_text())
    (saved / "run.json").write_text(json.dumps(info | {"format": 99}))
    with pytest.raises(RunError, match="newer"):
        Run.load(saved, backbone)


def test_the_files_say_what_was_done(saved):
    info = json.loads((saved / "run.json").read_text())
    assert info["method"] == "coop+lamm" and info["seed"] == 1 and info["shots"] == 2
    assert info["backbone"]["source"] == "tiny" and len(info["backbone"]["fingerprint"]) >= 16
    assert info["versions"]["torch"] == torch.__version__
    assert info["options"]["context_tokens"] == 16 and info["train"]["optimizer"] == "sgd"
    card = (saved / "README.md").read_text()
    assert "zero-shot" in card and f"{info['scores']['test']['accuracy']:.2f} %" in card
    assert [r["event"] for r in read_log(saved / "log.jsonl")].count("epoch") == 1
    assert sorted(p.name for p in saved.iterdir()) == [
        "README.md",
        "log.jsonl",
        "predictions.csv",
        "prompts.safetensors",
        "run.json",
    ]


def test_a_run_that_cannot_be_written_is_kept_elsewhere(backbone, saved, tmp_path, monkeypatch):
    run = Run.load(saved, backbone)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="the run is kept in"):
        run.save(tmp_path / "file" / "x")
    (rescued,) = tmp_path.glob("vlprompt-*")
    assert Run.load(rescued, backbone).scores == run.scores


def test_a_run_of_the_former_embedded_backbone_names_its_version(backbone, saved):
    from dataclasses import replace

    from vlprompt.runs.run import FORMER_EMBEDDED

    (former, version), *_ = FORMER_EMBEDDED.items()
    info = json.loads((saved / "run.json").read_text())
    info["backbone"] |= {"source": "embedded", "fingerprint": former}
    (saved / "run.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match=f"embedded backbone of vlprompt {version}") as found:
        Run.load(saved, replace(backbone, name="embedded"))
    assert "\n" not in str(found.value)
