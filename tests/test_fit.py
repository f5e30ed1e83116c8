import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_data import picture_folder
from support import save_huggingface, tiny_backbone

from vlprompt import methods
from vlprompt.backbones.spec import BackboneSpec
from vlprompt.data.opening import open_dataset
from vlprompt.errors import DataError, OptionError, RunError
from vlprompt.fitting.learning import fit
from vlprompt.fitting.measuring import Measure
from vlprompt.fitting.plan import make_plan
from vlprompt.runs.run import KNOWN, Run

TRAIN = {"epochs": 2, "batch": 6, "views": 2, "warmup_epochs": 0}
SMALL = {"maple": {"depth": 2}, "maple+lamm": {"depth": 2}}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp("data"))


def quick(data, method="coop", **more):
    settings = {
        "shots": 3,
        "train": TRAIN,
        "cache": False,
        "options": SMALL.get(method) if isinstance(method, str) else None,
    }
    return fit(data, method, **(settings | more))


@pytest.mark.parametrize("name", methods.names())
def test_every_method_learns_its_own_tensors_reproducibly(backbone, data, tmp_path, name):
    towers = {k: v.clone() for t in (backbone.text, backbone.image) for k, v in t.state_dict().items()}
    one = quick(data, name, backbone=backbone, out=tmp_path / "one")
    two = quick(data, name, backbone=backbone)
    other = quick(data, name, backbone=backbone, seed=2)
    held = {k: v for t in (backbone.text, backbone.image) for k, v in t.state_dict().items()}
    assert all(torch.equal(towers[k], held[k]) for k in towers)
    states = [run.learned.state_dict() for run in (one, two, other)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert one.scores == two.scores
    if one.learned.facts.learns:
        assert any(not torch.equal(states[0][k], states[2][k]) for k in states[0])
    saved = json.loads((tmp_path / "one" / "run.json").read_text())
    assert saved["tensors"]["shapes"].keys() - {KNOWN} == states[0].keys()
    assert not any("backbone" in k or "token_embedding" in k for k in states[0])
    numbers = (
        4 * one.learned.trainable_parameters()
    )  # bytes: MMRL's shared space is wide, whatever the towers
    assert sum(p.stat().st_size for p in (tmp_path / "one").iterdir()) < 400_000 + max(0, numbers - 300_000)
    assert saved["scores"]["zero_shot"]["count"] == saved["scores"]["test"]["count"] == 8


def test_zero_shot_is_scored_beside_what_was_learned(backbone, data):
    run = quick(data, backbone=backbone)
    zero = quick(data, make_plan("zeroshot", templates=run.info.zero_shot_templates), backbone=backbone)
    assert run.scores["zero_shot"] == zero.scores["test"]
    assert run.scores.keys() == {"zero_shot", "linear_probe", "test", "val"}
    assert set(run.info.timings) == {"encode_s", "zero_shot_s", "train_s", "evaluate_s", "total_s"}


def test_without_test_pictures_validation_is_scored_and_said(backbone, tmp_path):
    folder = picture_folder(tmp_path, {"train": 2})
    dataset = open_dataset(folder, classes=None)
    only = type(dataset)(
        dataset.name, dataset.class_names, dataset.class_keys, {"train": dataset.all_items}, dataset.source
    )
    run = quick(only, backbone=backbone, measure=Measure(folds=0))
    assert run.scores == {} and "nothing can be scored" in run.info.notices[-1]


def test_fewer_pictures_than_shots_are_used_and_said(backbone, data):
    records = []
    run = quick(data, backbone=backbone, shots=16, progress=records.append)
    assert run.info.data.train == 12
    assert any("fewer than 16" in r.get("text", "") for r in records)


def test_broken_pictures_are_skipped_counted_and_logged(backbone, tmp_path):
    folder = picture_folder(tmp_path / "data")
    for path in (folder / "train" / "red cat" / "0.png", folder / "test" / "grey fog" / "1.png"):
        path.write_bytes(b"no picture")
    for name in ("coop", "vpt"):
        run = quick(folder, name, backbone=backbone, out=tmp_path / name)
        assert run.info.data.skipped == 2
        assert run.scores["test"]["count"] == 7 and run.scores["test"]["classes"][2]["count"] == 1
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        named = [r["path"] for r in map(json.loads, lines) if r["event"] == "skipped"]
        assert sorted(Path(p).name for p in named) == ["0.png", "1.png"]


@pytest.mark.parametrize("name", ["coop", "vpt"])
def test_steps_are_reckoned_from_the_pictures_that_can_be_read(backbone, tmp_path, name):
    """Twelve drawn and eleven read, in steps of three: three in an epoch and not four; views are those that were made before."""
    folder = picture_folder(tmp_path / "data")
    (folder / "train" / "red cat" / "0.png").write_bytes(b"no picture")
    train = TRAIN | {"epochs": 1, "least_steps": 12, "batch": 3, "views": "epoch", "warmup_epochs": 0}
    done = quick(folder, name, backbone=backbone, train=train).info.training
    assert (done.epochs, done.steps) == (4, 12)


def test_classes_that_lost_training_pictures_are_named(backbone, tmp_path):
    folder = picture_folder(tmp_path / "data")
    (folder / "train" / "red cat" / "0.png").write_bytes(b"no picture")
    records = []
    told = quick(folder, backbone=backbone, out=tmp_path / "run", progress=records.append).info.notices[-1]
    assert told.startswith("1 pictures could not be read and were skipped; log.jsonl names them")
    assert told.endswith("fewer training pictures for that: red cat (1 of 3)")
    assert told in [r.get("text") for r in records]
    kept_nowhere = quick(folder, backbone=backbone).info.notices[-1]  # without a folder there is no log
    assert "log.jsonl" not in kept_nowhere and "for example train/red cat/0.png: " in kept_nowhere


@pytest.mark.parametrize("name", ["coop", "vpt", "linear_probe"])
def test_a_class_without_any_training_picture_that_can_be_read_is_an_error(backbone, tmp_path, name):
    folder = picture_folder(tmp_path / "data")
    for path in [*(folder / "train" / "red cat").iterdir(), folder / "train" / "blue sea" / "0.png"]:
        path.write_bytes(b"no picture")
    said = r"^no training picture can be read of red cat \(3 of 3\), for example train/red cat/.\.png: .*leave the class out"
    with pytest.raises(DataError, match=said):
        quick(folder, name, backbone=backbone)
    assert quick(folder, "zeroshot", backbone=backbone).scores  # which learns from none


def test_a_finished_run_is_loaded_and_others_are_not_overwritten(backbone, data, tmp_path):
    records = []
    first = quick(data, backbone=backbone, out=tmp_path / "run")
    again = quick(data, backbone=backbone, out=tmp_path / "run", progress=records.append)
    assert "finished already" in records[0]["text"] and len(records) == 1
    assert again.scores == first.scores
    assert torch.equal(again.learned.context, first.learned.context)
    with pytest.raises(RunError, match="other settings"):
        quick(data, backbone=backbone, out=tmp_path / "run", seed=2)
    other = quick(data, backbone=backbone, out=tmp_path / "run", seed=2, overwrite=True)
    assert not torch.equal(other.learned.context, first.learned.context)


def test_an_interrupted_run_of_other_settings_is_not_overwritten(backbone, data, tmp_path):
    def stop(record):
        if record["event"] == "epoch":
            raise KeyboardInterrupt

    slow = TRAIN | {"save_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        quick(data, backbone=backbone, out=tmp_path, train=slow, progress=stop)
    with pytest.raises(RunError, match="interrupted run with other settings"):
        quick(data, backbone=backbone, out=tmp_path, train=slow, seed=2)
    quick(data, backbone=backbone, out=tmp_path, train=slow, seed=2, overwrite=True)


def test_a_folder_that_cannot_be_written_is_said_before_training(backbone, data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        quick(data, backbone=backbone, out=tmp_path / "file" / "run")


def test_a_recipe_sets_what_is_not_given(backbone, data):
    run = quick(data, make_plan(None, {"text_depth": 2}, {"epochs": 1}, recipe="ivlp"), backbone=backbone)
    assert run.info.method == "ivlp"
    assert run.info.options | {"text_depth": 2, "image_depth": 12} == run.info.options
    assert (run.info.train["epochs"], run.info.train["batch"], run.info.train["lr"]) == (1, 4, 0.0035)


def test_wrapped_methods_train_by_the_wrapped_recipe(backbone, data):
    run = quick(data, "maple+lamm", backbone=backbone, train={"epochs": 1})
    assert (run.info.train["batch"], run.info.train["lr"], run.info.train["views"]) == (4, 0.0035, "epoch")
    assert run.info.title == "MaPLe + LAMM"


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"method": "cop"}, OptionError),
        ({"options": {"depth": 1}}, OptionError),
        ({"train": {"epoch": 1}}, OptionError),
        ({"shots": -1}, OptionError),
    ],
)
def test_bad_values_stop_in_one_line(backbone, data, more, error):
    with pytest.raises(error) as caught:
        quick(data, **({"backbone": backbone} | more))
    assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match='did you mean "maple"'):
        make_plan(recipe="mapel")


def test_missing_data_stop_in_one_line(backbone, tmp_path):
    with pytest.raises(DataError):
        quick(tmp_path / "nowhere", backbone=backbone)


def test_an_estimate_is_printed_before_more_than_the_budget_is_used(backbone, data):
    records = []
    options = {"context_tokens": 60}
    free = quick(data, backbone=backbone, options=options)
    tight = quick(
        data, backbone=backbone, options=options, train=TRAIN | {"memory": 0.001}, progress=records.append
    )
    said = [i for i, r in enumerate(records) if "estimate" in r.get("text", "")]
    assert said and said[0] < next(i for i, r in enumerate(records) if r["event"] == "step")
    torch.testing.assert_close(free.learned.context, tight.learned.context, atol=1e-5, rtol=1e-4)


def test_bf16_towers_train_float32_prompts(data):
    backbone = tiny_backbone(1).to("cpu", torch.bfloat16)
    run = quick(data, "maple+lamm", backbone=backbone)
    assert all(
        v.dtype == torch.float32 and torch.isfinite(v).all() for v in run.learned.state_dict().values()
    )
    assert run.info.backbone.precision == "bf16"


def test_a_class_name_that_is_no_text_stops_before_training(backbone, data):
    dataset = open_dataset(data)
    broken = replace(dataset, class_names=("\udcff", *dataset.class_names[1:]))
    with pytest.raises(DataError, match=r'"\\udcff" is no UTF-8 text'):
        quick(broken, backbone=backbone)


def test_arguments_of_earlier_versions_work_with_a_warning(data, tmp_path):
    with pytest.warns(DeprecationWarning, match="deprecated") as told:
        run = quick(
            data,
            "coop",
            backbone=save_huggingface(tmp_path / "tiny"),
            device="cpu",
            precision="float32",
            templates="a picture of {}.",
            calibrate=True,
            classes={"red cat": "crimson cat"},
            on_record=(records := []).append,
        )
    text = " ".join(str(warning.message) for warning in told)
    for instead in (
        "BackboneSpec(device=... and precision=...)",
        "make_plan(",
        "Measure(calibrate",
        "open_dataset(",
    ):
        assert instead in text
    assert run.info.templates == ["a picture of {}."] and run.calibrated and records
    assert "crimson cat" in run.class_names
    with pytest.raises(TypeError, match="'colour'"):
        quick(data, colour=1)


def test_a_backbone_spec_says_it_all(data, tmp_path):
    folder = save_huggingface(tmp_path / "tiny")
    spec = BackboneSpec(folder, device="cpu", precision="bf16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bf16 is slow on some processors
        run = quick(data, "zeroshot", backbone=spec, out=tmp_path / "run")
        again = Run.load(tmp_path / "run", BackboneSpec(folder, "cpu", "float32"))
    assert run.info.backbone.precision == "bf16" and run.info.backbone.source == str(folder)
    assert again.backbone.dtype == torch.float32
    with pytest.raises(OptionError, match="precision"):
        BackboneSpec(precision="float8")
    with pytest.raises(OptionError, match="source"):
        BackboneSpec(3)
