"""Runs that go to a hub on this computer and come back; in processes of their own, where its address is set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_hub import Hub, serve
from small_data import picture_folder
from support import save_huggingface

from vlprompt.errors import OptionError, RunError
from vlprompt.fitting.learning import fit
from vlprompt.runs.hub import locate_run, shared_files

TOKEN = "hf_of_me"
COMMANDS = """
import contextlib, io, json, sys
from vlprompt.cli.main import main
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--quiet", *words])
    print(json.dumps([code, out.getvalue().strip(), err.getvalue().strip()]))
"""
LOAD = """
import json, sys
import numpy as np
from vlprompt import PromptClassifier, Run
from vlprompt.errors import VlpromptError
local, name, backbone, other, picture = sys.argv[1:]
loaded = [Run.load(where, backbone).probabilities([picture]) for where in (local, name, "hf-hub:" + name)]
loaded.append(PromptClassifier.load(name, backbone).predict_proba([picture]))
said = []
for place in (None, other):
    try:
        Run.load(name, place)
    except VlpromptError as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps([all(np.array_equal(loaded[0], one) for one in loaded), said]))
"""


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def run_script(script: str, words: list[str], home: Path, url: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    settings = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "*",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=kept | settings | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def vlprompt(home: Path, url: str, *commands: list[object], token: str = "") -> list[Said]:
    words = [[str(word) for word in command] for command in commands]
    more = {"HF_TOKEN": token} if token else {}
    text = run_script(COMMANDS, [json.dumps(words)], home, url, **more)
    said = [Said(*json.loads(line)) for line in text.splitlines()]
    assert all("\n" not in one.err and "Traceback" not in one.err for one in said)
    return said


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_huggingface(tmp_path_factory.mktemp("backbone") / "tiny clip")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("private") / "holidays")


@pytest.fixture(scope="module")
def run(backbone: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "x"
    (pictures / "train" / "red cat" / "secret.png").write_bytes(b"broken")
    fit(
        pictures,
        "coop",
        shots=2,
        backbone=str(backbone),
        out=folder,
        cache=False,
        options={"context_tokens": 2},
        train={"epochs": 1, "batch": 4, "views": 1},
        command=f"vlprompt fit {pictures}",
    )
    (folder / "report.html").write_text("with pictures")
    return folder


def test_pushed_and_pulled(run: Path, pictures: Path, backbone: Path, tmp_path: Path) -> None:
    with serve(Hub({}, root=tmp_path / "hub", tokens=(TOKEN,))) as hub:
        home, out = tmp_path / "home", tmp_path / "out" / "pulled"
        (without,) = vlprompt(home, hub.url, ["push", run, "me/fruit"])
        sent, twice, theirs, update, back, again = vlprompt(
            home,
            hub.url,
            ["push", run, "me/fruit", "--private", "--license", "apache-2.0"],
            ["push", run, "me/fruit"],
            ["push", run, "them/fruit"],
            ["push", run, "me/fruit", "--overwrite", "--with-log"],
            ["pull", "me/fruit", out],
            ["pull", "me/fruit", out],
            token=TOKEN,
        )
        (out / "predictions.csv").write_text("of a former run")
        (replaced,) = vlprompt(home, hub.url, ["pull", "me/fruit", out, "--overwrite"], token=TOKEN)
        (hidden,) = vlprompt(tmp_path / "other home", hub.url, ["pull", "me/fruit", tmp_path / "nothing"])
    assert without.code == 1 and "HF_TOKEN" in without.err
    assert (sent.code, sent.out) == (0, f"{hub.url}/me/fruit")
    assert twice.code == 1 and "exists already" in twice.err and "--overwrite" in twice.err
    assert theirs.code == 1 and "them/fruit" in theirs.err
    assert update.code == 0, update.err
    assert (back.code, back.out) == (0, str(out))
    assert again.code == 1 and "holds a finished run" in again.err
    assert replaced.code == 0, replaced.err
    assert hidden.code == 1 and "me/fruit" in hidden.err and not (tmp_path / "nothing").exists()
    assert hub.private == {"me/fruit"}

    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "log.jsonl",
        "prompts.safetensors",
        "run.json",
    ]
    assert (out / "prompts.safetensors").read_bytes() == (run / "prompts.safetensors").read_bytes()
    mine, told = (json.loads((folder / "run.json").read_text()) for folder in (run, out))
    assert told["command"] == "" and told["backbone"]["source"] == "tiny clip"
    for key in ("scores", "class_names", "options", "settings", "tensors"):
        assert told[key] == mine[key]
    assert told["backbone"]["fingerprint"] == mine["backbone"]["fingerprint"]
    assert list(out.parent.iterdir()) == [out]


def test_only_the_own_files_and_no_local_paths_are_sent(run: Path, pictures: Path, backbone: Path) -> None:
    files = shared_files(run, "me/fruit", license="mit")
    assert sorted(files) == ["README.md", "prompts.safetensors", "run.json"]
    text = (files["README.md"] + files["run.json"]).decode()
    for secret in (str(pictures), str(pictures.parent), str(backbone.parent), "secret.png"):
        assert secret not in text
    assert sorted(shared_files(run, "me/fruit", with_log=True)) == [
        "README.md",
        "log.jsonl",
        "prompts.safetensors",
        "run.json",
    ]


def test_the_card_tells_the_hub_what_it_needs(run: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(shared_files(run, "me/fruit", license="mit")["README.md"].decode())
    assert card.data.library_name == "vlprompt" and card.data.license == "mit"
    assert card.data.pipeline_tag == "image-classification"
    scores = json.loads((run / "run.json").read_text())["scores"]
    found = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert found["test", "accuracy"] == pytest.approx(scores["test"]["accuracy"] / 100)
    assert 'Run.load("me/fruit")' in card.text


def test_branches(run: Path, tmp_path: Path) -> None:
    with serve(Hub({}, root=tmp_path / "hub", tokens=(TOKEN,))) as hub:
        said = vlprompt(
            tmp_path / "home",
            hub.url,
            ["push", run, "me/fruit", "--revision", "second"],
            ["pull", "me/fruit", tmp_path / "a", "--revision", "second"],
            ["pull", "me/fruit", tmp_path / "b"],
            ["pull", "me/fruit", tmp_path / "b", "--revision", "third"],
            token=TOKEN,
        )
    assert [one.code for one in said] == [0, 0, 1, 1]
    assert "no run of vlprompt" in said[2].err and "no such revision" in said[3].err
    assert (tmp_path / "a" / "run.json").exists() and not (tmp_path / "b").exists()


def test_what_cannot_be_pushed_or_pulled(run: Path, pictures: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    (damaged / "prompts.safetensors").write_bytes(b"other")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    with serve(Hub({"a/model": model, "a/damaged": damaged}, root=tmp_path / "hub", tokens=(TOKEN,))) as hub:
        said = vlprompt(
            tmp_path / "home",
            hub.url,
            ["push", pictures, "me/x"],
            ["push", damaged, "me/x"],
            ["push", run, "x"],
            ["push", tmp_path / "no", "me/x"],
            ["pull", "a/nothing", tmp_path / "out"],
            ["pull", "a/model", tmp_path / "out"],
            ["pull", "a/damaged", tmp_path / "out"],
            ["pull", "a", tmp_path / "out"],
            ["pull", "a/model", run / "run.json"],
            token=TOKEN,
        )
    for one, (code, words) in zip(
        said,
        [
            (1, "no run.json in it"),
            (1, "damaged"),
            (2, "expected owner/name"),
            (1, "no such run folder"),
            (1, "a/nothing"),
            (1, "no run of vlprompt"),
            (1, "damaged"),
            (2, "expected owner/name"),
            (1, "is a file"),
        ],
        strict=True,
    ):
        assert one.code == code and words in one.err
    assert not (tmp_path / "out").exists() and not (tmp_path / "hub").exists()


def test_an_interrupted_download_leaves_nothing(run: Path, tmp_path: Path) -> None:
    with serve(Hub({"me/fruit": run})) as hub:
        hub.cut = {"prompts.safetensors"}
        home, out = tmp_path / "home", tmp_path / "out" / "x"
        (broken,) = vlprompt(home, hub.url, ["pull", "me/fruit", out])
        assert broken.code == 1 and "me/fruit" in broken.err
        assert not out.parent.exists()
        hub.cut = set()
        (whole,) = vlprompt(home, hub.url, ["pull", "me/fruit", out])
    assert whole.code == 0, whole.err
    assert (out / "prompts.safetensors").read_bytes() == (run / "prompts.safetensors").read_bytes()


def test_nothing_that_was_pulled_is_executed(run: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    shutil.copytree(run, hostile)
    canary = tmp_path / "canary"
    (hostile / "trap.py").write_text(f"open({str(canary)!r}, 'w')")
    (hostile / "trap.pkl").write_bytes(b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR.")
    (tmp_path / "trap.py").write_text(f"open({str(canary)!r}, 'w')")  # on the path of the process
    info = json.loads((hostile / "run.json").read_text())
    (hostile / "run.json").write_text(json.dumps(info | {"method": "trap.METHOD"}))
    script = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{COMMANDS}"
    with serve(Hub({"a/trap": hostile})) as hub:
        words = [["pull", "a/trap", str(tmp_path / "out")], ["predict", "a/trap", str(tmp_path / "x.png")]]
        text = run_script(script, [json.dumps(words)], tmp_path / "home", hub.url)
    for code, _, err in map(json.loads, text.splitlines()):
        assert code == 1 and "does not come with vlprompt" in err
    assert not canary.exists() and not (tmp_path / "out").exists()
    assert not {"trap.py", "trap.pkl"} & set(hub.asked)


def test_loaded_by_its_id(run: Path, backbone: Path, pictures: Path, tmp_path: Path) -> None:
    other = save_huggingface(tmp_path / "other", seed=7)
    pushed = tmp_path / "pushed"
    pushed.mkdir()
    for name, data in shared_files(run, "me/fruit").items():
        (pushed / name).write_bytes(data)
    picture = next(pictures.glob("test/*/0.png"))
    with serve(Hub({"me/fruit": pushed})) as hub:
        words = [str(run), "me/fruit", str(backbone), str(other), str(picture)]
        equal, said = json.loads(run_script(LOAD, words, tmp_path / "home", hub.url))
    assert equal
    lost, wrong = said
    assert lost.startswith("RunError") and "tiny clip" in lost
    assert wrong.startswith("RunError") and "not on" in wrong


def test_local_folders_go_first(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert locate_run("runs/typo") == Path("runs/typo"), "no hub is asked where the folder above is here"
    assert locate_run(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    with pytest.raises(OptionError, match="owner/name"):
        locate_run("hf-hub:x")


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        shared_files(tmp_path / "x", "me/x")
