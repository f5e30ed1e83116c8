"""Every kind of bad input: one line on stderr, the right exit code, never a trace."""

import errno
from zipfile import ZipFile

import pytest

from vlprompt.cli.error_reporting import told
from vlprompt.errors import DataError, OptionError

# the words of the command, the exit code, and what its one line has to say. {pictures}, ... are filled in
WRONG = [
    (["fit", "/no/such/folder"], 1, "/no/such/folder: there is no such file or folder"),
    (["fit"], 2, "missing argument 'PATH'"),
    (["fti"], 2, 'no command "fti": did you mean "fit"?'),
    (["fit", "{pictures}", "--method", "lam"], 2, 'no method "lam": did you mean "lamm"?'),
    (["fit", "{pictures}", "--method", "coop+maple"], 2, 'no method "coop+maple"'),
    (["fit", "{pictures}", "--recipe", "mapel"], 2, 'no recipe "mapel": did you mean "maple"?'),
    (
        ["fit", "{pictures}", "--method", "coop", "--contxt-tokens", "3"],
        2,
        "no option --contxt-tokens: did you mean --context-tokens?",
    ),
    (["fit", "{pictures}", "--epoch", "3"], 2, "did you mean --epochs?"),
    (
        ["fit", "{pictures}", "--method", "coop", "--label-tokens", "3"],
        2,
        "--label-tokens of method coop; it belongs to lamm",
    ),
    (["eval", "{run}", "--splitt", "test"], 2, "did you mean --split?"),
    (["predict", "{run}", "--names", "a, b", "{pictures}"], 2, "no option --names: "),
    (
        ["fit", "{pictures}", "--method", "coop", "--context-tokens", "0"],
        2,
        "context_tokens is 0: expected at least 1",
    ),
    (["fit", "{pictures}", "--context-tokens", "many"], 2, "--context-tokens"),
    (["fit", "{pictures}", "--shots", "-3"], 2, "--shots"),
    (["fit", "{pictures}", "--optimizer", "adamx"], 2, "optimizer is 'adamx': did you mean"),
    (["fit", "{pictures}", "--views", "none"], 2, "expected a number from 1 on"),
    (["fit", "{pictures}", "--backbone", "embeded"], 2, 'no backbone "embeded": did you mean "embedded"?'),
    (["fit", "{pictures}", "--backbone", "{pictures}"], 1, "neither config.json"),
    (["fit", "{pictures}", "--backbone", "{backbone}", "--device", "cpus"], 2, 'no device "cpus"'),
    (
        ["fit", "{pictures}", "--backbone", "{backbone}", "--precision", "fp16", "--device", "cpu"],
        2,
        "fp16 is not for CPUs",
    ),
    (["fit", "{pictures}", "--backbone", "{backbone}", "--template", "a photo"], 2, "{{}}"),
    (["fit", "{pictures}", "--domain", "sketch"], 1, 'no domain "sketch"'),
    (
        ["fit", "{pictures}", "--backbone", "{backbone}", "--out", "{file}/x", "--epochs", "1"],
        1,
        "cannot be written",
    ),
    (["fit", "{file}"], 1, "file.csv: no column of picture paths"),
    (["fit", "{oneclass}"], 1, "only one class"),
    (["eval", "/no/run"], 1, "no such run folder"),
    (["eval", "{pictures}"], 1, "no run.json in it"),
    (["eval", "{run}", "--split", "train"], 2, "give their PATH"),
    (["eval", "{run}", "--split", "val"], 1, "no val pictures"),
    (["eval", "{run}", "{pictures}", "--split", "tests"], 1, 'no split "tests"'),
    (["eval", "{run}", "{pictures}", "--backbone", "{otherbone}"], 1, "learned on backbone"),
    (["predict", "{run}"], 2, "missing argument"),
    (["predict", "{run}", "{empty}"], 1, "no pictures in this folder"),
    (["predict", "{run}", "{empty}/*.jpg"], 1, "no file matches"),
    (["predict", "{run}", "{archive}"], 1, "photos.zip: is an archive"),
    (
        ["predict", "{run}", "{pictures}", "{archive}", "--out", "{empty}/x"],
        1,
        "unpack it and give the folder",
    ),
    (
        ["predict", "{run}", "{pictures}", "/no/a.jpg", "--out", "{empty}/x"],
        1,
        "/no/a.jpg: there is no such file",
    ),
    (["embed", "{pictures}", "/no/a.jpg", "--out", "{empty}/x"], 1, "/no/a.jpg: there is no such file"),
    (["embed", "{archive}", "--out", "{empty}/x"], 1, "photos.zip: is an archive"),
    (["predict", "{run}", "a.jpg", "--json", "--csv"], 2, "exclude each other"),
    (["predict", "{run}", "a.jpg", "--top", "0"], 2, "--top"),
    (["report", "{pictures}"], 1, "no run.json in it"),
    (["report", "{run}", "--out", "{file}/x.html"], 1, "{file}"),
    (["protocol", "fewshot", "{pictures}"], 2, 'did you mean "few_shot"?'),
    (["protocol", "few_shot", "{pictures}", "--seeds", "one"], 2, '--seeds is "one"'),
    (["protocol", "few_shot", "{pictures}", "--method", "coop,lam"], 2, 'no method "lam"'),
    (["table", "{file}"], 1, "no results in it"),
    (["table", "/no/file"], 1, "no results can be read"),
    (["cache", "empty"], 2, 'no action "empty"'),
    (["methods", "--backbone", "/no/where"], 2, "no backbone"),
    (["data", "{empty}"], 1, "{empty}"),
]


@pytest.fixture(scope="session")
def places(pictures, backbone, trained, tmp_path_factory):
    from PIL import Image
    from support import save_huggingface

    folder = tmp_path_factory.mktemp("places")
    (folder / "file.csv").write_text("nothing,of,this\n")
    (folder / "empty").mkdir()
    (folder / "one" / "only").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "one" / "only" / "a.png")
    with ZipFile(folder / "photos.zip", "w") as archive:
        archive.write(folder / "one" / "only" / "a.png", "only/a.png")
    other = save_huggingface(folder / "other", seed=3)
    return {
        "pictures": pictures,
        "backbone": backbone,
        "run": trained,
        "file": folder / "file.csv",
        "empty": folder / "empty",
        "oneclass": folder / "one",
        "otherbone": other,
        "archive": folder / "photos.zip",
    }


@pytest.mark.parametrize(
    ("words", "code", "text"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_one_line_and_exit_code(vlprompt, places, words, code, text):
    said = vlprompt("--quiet", *(word.format(**places) for word in words))
    assert said.code == code, said.err
    wrong = [line for line in said.lines if line.startswith("vlprompt: ")]
    assert len(wrong) == 1, said.err
    assert said.lines == wrong
    assert text.format(**places).lower() in wrong[0].lower()
    assert said.out == ""


def test_an_interruption_says_how_to_go_on(vlprompt, places, tmp_path, monkeypatch):
    def interrupted(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("vlprompt.fitting.lesson.train", interrupted)
    said = vlprompt(
        "fit", places["pictures"], "-m", "coop", "-b", places["backbone"], "-o", tmp_path / "x", "-q"
    )
    assert said.code == 130
    assert "the same command goes on" in said.err


def test_a_mistake_of_ours_is_one_line_and_a_trace_with_debug(vlprompt, places, tmp_path, monkeypatch):
    def broken(*args, **more):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("vlprompt.fitting.lesson.train", broken)
    words = ["fit", places["pictures"], "-m", "coop", "-b", places["backbone"], "-o", tmp_path / "x", "-q"]
    said = vlprompt(*words)
    assert said.code == 1
    assert said.lines == [
        "vlprompt: unexpected ZeroDivisionError: division by zero (this is a mistake in vlprompt; --debug shows where)"
    ]
    said = vlprompt(*words, "--debug")
    assert said.code == 1
    assert "Traceback" in said.err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/run.json"),
            1,
            "/x/run.json: the disk is full: free some space",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "/x: permission denied"),
        (OptionError("a\n  b"), 2, "a b"),
        (DataError("no pictures"), 1, "no pictures"),
        (
            MemoryError(),
            1,
            "out of memory: try a smaller --batch, --accumulate 2 or more, or a smaller --memory",
        ),
    ],
)
def test_explanations(error, code, text):
    assert told(error) == (code, text)
