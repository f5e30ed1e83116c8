"""Runs that are replaced by pull, import and save: the old one or the new one, whatever happens in between."""

from __future__ import annotations

import json
import multiprocessing
import os

import fault_jobs
import pytest
from fault_jobs import backbone, replace_and_die

from vlprompt.errors import RunError
from vlprompt.files import LIST, PART, finish_writing, write_together
from vlprompt.locks import folder_lock
from vlprompt.runs.hub import pull
from vlprompt.runs.importing import import_checkpoint
from vlprompt.runs.run import Run


def tensors(folder):
    return {name: value.tolist() for name, value in Run.load(folder, backbone()).learned.state_dict().items()}


@pytest.fixture(scope="module")
def both(children, pictures, tmp_path_factory):
    """Two finished runs of other tensors, the second with fewer files."""
    place = tmp_path_factory.mktemp("both")
    for number, name in enumerate(("old", "new")):
        children.run(fault_jobs.fit_and_die, 0, pictures, "coop", place / name, {"seed": number})
    (place / "new" / "predictions.csv").unlink(missing_ok=True)
    (place / "old" / "report.html").write_text("of the old one")
    return place / "old", place / "new"


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["pull", "save"])
def test_there_is_always_one_of_the_two(children, both, tmp_path, way):
    old, new = both
    events = children.run(replace_and_die, 0, old, new, tmp_path / "whole" / "run", way)
    held = {name: tensors(folder) for name, folder in (("old", old), ("new", new))}
    assert tensors(tmp_path / "whole" / "run") == held["new"]
    seen = []
    for at in range(1, events + 1):
        folder = tmp_path / f"{at}" / "run"
        assert children.run(replace_and_die, at, old, new, folder, way) is None
        found = tensors(folder)  # which ends what was begun
        assert found in held.values()
        seen.append("new" if found == held["new"] else "old")
        if seen[-1] == "new":
            assert "of the old one" not in [p.read_text() for p in folder.glob("report.html")]
        # the same again cleans up
        children.run(replace_and_die, 0, None, new, folder, way)
        assert tensors(folder) == held["new"] and names(folder) == names(tmp_path / "whole" / "run")
        assert names(folder.parent) == {"run"}
    assert set(seen) == {"old", "new"} and seen == sorted(seen, reverse=True)


def test_what_was_begun_is_ended(tmp_path):
    """The moment between the list and the last file, as a kill leaves it."""
    write_together(tmp_path, {"a": b"old a", "run.json": b"old"})
    part = tmp_path / f".run.json.99{PART}"
    part.write_bytes(b"new")
    (tmp_path / f".a.99{PART}").write_bytes(b"new a")
    listed = {"files": {"a": f".a.99{PART}", "run.json": part.name}, "gone": ["report.html"]}
    (tmp_path / LIST).write_text(json.dumps(listed))
    (tmp_path / "report.html").write_text("old")
    finish_writing(tmp_path)
    assert names(tmp_path) == {"a", "run.json"}
    assert (tmp_path / "a").read_bytes() == b"new a" and (tmp_path / "run.json").read_bytes() == b"new"
    finish_writing(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 5000,
        '{"files": {}, "gone": []}',
        '{"files": {"../x": "y"}, "gone": []}',
        '{"files": {"x": "/etc/passwd"}, "gone": []}',
        '{"files": {"x": "y"}, "gone": [".."]}',
        '{"files": {"x": "y"}, "gone": ["."]}',
        '{"files": {"x": "y"}, "gone": [3]}',
    ],
)
def test_lists_of_others_are_not_followed(tmp_path, text):
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "x").write_text("outside")
    (folder / LIST).write_text(text)
    finish_writing(folder)
    assert names(folder) == set() and (tmp_path / "x").read_text() == "outside"


def test_pull_and_import_wait_for_others(both, tmp_path, monkeypatch):
    monkeypatch.setattr("vlprompt.locks.WAIT", 0.0)
    monkeypatch.setattr("vlprompt.runs.hub.fetch_run", lambda *_: both[1])
    folder, context = tmp_path / "run", multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=fault_jobs.hold_folder, args=(theirs, folder))
    process.start()
    assert ours.recv() == "held"
    for replace in (
        lambda: pull("a/b", folder, overwrite=True),
        lambda: import_checkpoint(
            tmp_path / "none.pt", "coop", ["a"], backbone(), out=folder, overwrite=True
        ),
    ):
        with pytest.raises(RunError, match="another command is at work in it"):
            replace()
    process.terminate()
    process.join()
    pull("a/b", folder, overwrite=True)
    assert tensors(folder) == tensors(both[1]) and ".lock" not in names(folder)
    with folder_lock(folder, 0) as held:
        assert held


def test_a_pull_that_fails_leaves_no_folder(both, tmp_path, monkeypatch):
    def fails(*_):
        raise RunError("nothing there")

    monkeypatch.setattr("vlprompt.runs.hub.fetch_run", fails)
    with pytest.raises(RunError, match="nothing there"):
        pull("a/b", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError):
        import_checkpoint(tmp_path / "none.pt", "coop", ["a"], backbone(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    os.mkdir(tmp_path / "run")
    (tmp_path / "run" / "mine.txt").write_text("x")
    monkeypatch.setattr("vlprompt.runs.hub.fetch_run", lambda *_: both[1])
    with pytest.raises(RunError, match="not empty"):
        pull("a/b", tmp_path / "run")
    pull("a/b", tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "mine.txt").read_text() == "x"
