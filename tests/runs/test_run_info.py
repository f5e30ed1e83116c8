"""run.json: old ones load, newer fields are kept, and whatever is of a wrong kind is one error that names it."""

import copy
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from small_data import COLOURS, picture
from support import run_info, tiny_backbone

from vlprompt.errors import RunError
from vlprompt.report.run_report import run_page
from vlprompt.report.run_tables import class_table, cost_line, run_table
from vlprompt.runs.hub import shareable
from vlprompt.runs.info import RunInfo, parse_info, read_info
from vlprompt.runs.model_card import card
from vlprompt.runs.run import Run

OLD = Path(__file__).parent / "old"  # written by version 0.1.0 before runs had a type
NAMES = sorted(path.name for path in OLD.iterdir())
HELD = json.loads((OLD / "coop" / "run.json").read_text())


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.mark.parametrize("name", NAMES)
def test_runs_of_earlier_versions_answer_as_they_did(backbone, name):
    run = Run.load(OLD / name, backbone)
    pictures = [picture(COLOURS[colour], 200) for colour in ("red cat", "blue sea")]
    expected = json.loads((OLD / name / "expected.json").read_text())
    assert np.allclose(run.probabilities(pictures), expected, atol=2e-3)
    assert json.loads((OLD / name / "run.json").read_text()) == json.loads(json.dumps(run.info.to_json()))


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_reads_a_record_reads_old_ones(name):
    info = read_info(OLD / name)
    assert info.method in card(info) and info.method in card(shareable(info), "owner/name")
    assert run_table(info).row_count >= 2 and "learned numbers" in cost_line(info)
    assert class_table(info.learned, info.zero_shot).row_count == 4
    assert info.data.name in run_page(info, [])


def test_what_was_done_is_shown_and_not_what_was_asked_for():
    """With few pictures there are more epochs than `train` says."""
    held = copy.deepcopy(HELD)
    held["train"]["epochs"], held["training"]["epochs"], held["training"]["steps"] = 3, 37, 222
    info = parse_info(json.dumps(held).encode(), "run")
    assert info.epochs_done == 37 and "37 epochs of 222 steps in all" in card(info)
    shown = " ".join(re.sub("<[^>]+>", " ", run_page(info, [])).split())
    assert "epochs 3" in shown and "epochs made 37" in shown and "steps made 222" in shown


def test_fields_of_a_newer_version_are_kept(tmp_path):
    held = copy.deepcopy(HELD)
    held |= {"mood": {"of": ["today", 1.5]}}
    held["scores"]["test"]["spread"] = [1, 2]
    held["train"]["rainbow"] = 3
    info = parse_info(json.dumps(held).encode(), tmp_path)
    assert info.more == {"mood": {"of": ["today", 1.5]}} and info.scores["test"].more == {"spread": [1, 2]}
    assert info.train_options is not None and info.train_options.epochs == 2
    assert json.loads(json.dumps(info.to_json())) == held


def places(value, path=()):
    """All places in a JSON value, with what stands there."""
    yield path, value
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*path, key))


def put(value, path, new):
    found = copy.deepcopy(value)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return found


PLACES = [path for path, _ in places(HELD) if path]
ODD = [None, True, -1, 1.5, 10**30, "text", "", [], {}, [1], {"a": 1}, "\ud800", [[]], "9" * 50]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(ODD))
def test_a_wrong_value_anywhere_is_one_error_or_does_no_harm(path, odd):
    text = json.dumps(put(HELD, path, odd)).encode()
    try:
        info = parse_info(text, Path("x/run.json"))
    except RunError as error:
        assert "x/run.json: " in str(error) and "\n" not in str(error)
        return
    assert run_table(info).row_count >= 0 and cost_line(info)
    card(info).encode(), card(shareable(info), "a/b").encode(), run_page(info, []).encode()
    json.dumps(info.to_json(), ensure_ascii=False).encode(errors="backslashreplace")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("calibration", {"temperature": "hot"}, "calibration.temperature is text: expected a number"),
        ("calibration", {"temperature": 0}, "calibration.temperature is 0"),
        ("calibration", 1, "calibration is a number: expected an object"),
        ("rejection", {"thresholds": [0.5], "calibrated_thresholds": []}, "rejection.thresholds holds 1"),
        ("scores", {"test": 7}, "scores.test is a number"),
        ("scores", {"test": {"accuracy": 101, "macro_f1": 1, "correct": 1, "count": 1}}, "at most 100"),
        ("scores", {"test": {"accuracy": 1, "macro_f1": 1, "correct": 2, "count": 1}}, "more than the 1"),
        ("data", [], "data is a list"),
        ("data", {"train": "many"}, "data.train is text: expected a whole number"),
        ("train", {"epochs": "x"}, "train holds what it cannot"),
        ("timings", {"train_s": None}, "timings.train_s is empty: expected a number"),
        ("notices", "all fine", "notices is text: expected a list"),
        ("notices", [1], "notices[0] is a number: expected text"),
        ("memory", {"process_mib": "much"}, "memory.process_mib"),
        ("created", 2026, "created is a number: expected text"),
        ("class_names", ["a", "\udcff"], "class_names[1] holds half a character"),
        ("class_names", [], "class_names is empty"),
        ("task_shots", 10**9, "task_shots is 1e+09: expected at most"),
        ("labels", [1], "labels holds 1 values"),
        ("tensors", None, "tensors is missing"),
        ("backbone", {"source": "x"}, "backbone.fingerprint is missing"),
    ],
)
def test_the_field_is_named(field, value, said):
    with pytest.raises(RunError) as error:
        parse_info(json.dumps(HELD | {field: value}).encode(), Path("here/run.json"))
    assert str(error.value).startswith("here/run.json: damaged (") and said in str(error.value)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{}", "3", "nothing", '{"method": NaN}', '{"seed": 1e999}', "\ud800"]
)
def test_what_is_no_record_is_damaged(text):
    with pytest.raises(RunError, match="damaged"):
        parse_info(text.encode(errors="surrogatepass"), Path("run.json"))


def test_names_of_files_that_are_no_utf8_are_spelled_out():
    info = run_info(notices=["skipped \udcff.png"], data={"name": "\udcfe"})
    assert info.notices == ["skipped \\udcff.png"] and info.data.name == "\\udcfe"


def test_a_record_can_still_be_used_as_the_dictionary_that_it_was():
    info = read_info(OLD / "coop")
    with pytest.warns(DeprecationWarning, match=r"run\.info\.method"):
        assert info["method"] == "coop"
    with pytest.warns(DeprecationWarning, match="to_json"):
        assert info.get("nothing", 3) == 3
    assert "scores" in info and "nothing" not in info
    with pytest.warns(DeprecationWarning, match="to_json"):
        info["seed"] = 5
    assert info.seed == 5 and isinstance(info, RunInfo)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_tensors_that_are_not_finite_are_refused_by_name(backbone, tmp_path, value):
    shutil.copytree(OLD / "coop", tmp_path / "run")
    tensors = load_file(tmp_path / "run" / "prompts.safetensors")
    name = next(iter(tensors))
    tensors[name].view(-1)[0] = torch.tensor(value)
    rewritten(tmp_path / "run", save(tensors))
    with pytest.raises(RunError, match=f"{name} holds values that are not finite"):
        Run.load(tmp_path / "run", backbone)


def rewritten(folder, data):
    import hashlib

    (folder / "prompts.safetensors").write_bytes(data)
    info = json.loads((folder / "run.json").read_text())
    info["tensors"]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "run.json").write_text(json.dumps(info))


@pytest.mark.parametrize("name", ["run.json", "prompts.safetensors", "log.jsonl", "predictions.csv"])
@pytest.mark.parametrize("kind", ["fifo", "zero"])
def test_pipes_and_devices_in_a_run_folder_hang_nobody(backbone, tmp_path, name, kind):
    shutil.copytree(OLD / "coop", tmp_path / "run")
    path = tmp_path / "run" / name
    path.unlink()
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    if name in ("log.jsonl", "predictions.csv"):
        assert Run.load(tmp_path / "run", backbone).log == [] or name == "predictions.csv"
    else:
        with pytest.raises(RunError, match=f"{name}: cannot be read"):
            Run.load(tmp_path / "run", backbone)
