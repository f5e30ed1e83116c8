"""Shards on full disks and after kills; reports of runs that somebody else made."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import fault_jobs
import pytest

from vlprompt.collections import shards
from vlprompt.errors import RunError
from vlprompt.runs.seals import is_sealed, openable, sealed


class Words:
    """A work that writes the names of the pictures."""

    name, kind = "words", "txt"

    def facts(self):
        return {"of": "words"}

    def located(self):
        return self

    def load(self):
        pass

    def write(self, pictures, file):
        file.write_text("\n".join(pictures))
        return 0


class Full(Words):
    def write(self, pictures, file):
        file.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path):
    with pytest.raises(
        RunError, match="cannot be written \\(No space left on device\\): give the same command again"
    ):
        shards.process(["a", "b", "c"], tmp_path, Full(), shard=2)
    assert {path.name for path in tmp_path.iterdir()} == {"words.json"}
    assert shards.process(["a", "b", "c"], tmp_path, Words(), shard=2).done == 3


class Unreadable(Words):
    def write(self, pictures, file):
        file.write_text("")
        return sum(not os.path.exists(path) for path in pictures)


def test_a_shard_of_pictures_that_have_gone_is_not_written(tmp_path):
    """As with a drive that is no longer there: the shard would count as done."""
    names = [str(tmp_path / name) for name in "abcd"]
    for name in names[:1]:
        Path(name).touch()
    with pytest.raises(RunError, match="3 of its 4 pictures are no longer there"):
        shards.process(names, tmp_path / "out", Unreadable())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"words.json"}
    for name in names[:2]:
        Path(name).touch()
    assert shards.process(names, tmp_path / "out", Unreadable()).errors == 2  # a few that were deleted


@pytest.mark.skipif(os.name != "posix", reason="asks for processes by signals")
def test_parts_of_killed_processes_are_removed_and_those_of_others_are_not(children, tmp_path):
    process, pipe = children.start(fault_jobs.hold_shard, tmp_path)
    assert pipe.recv() == "writing"
    parts = list(tmp_path.glob("part-*.tmp"))
    assert len(parts) == 1
    shards.remove_left(tmp_path)
    assert list(tmp_path.glob("part-*.tmp")) == parts  # it is at work
    elsewhere = tmp_path / "part-00009.txt.elsewhere.1.tmp"
    elsewhere.write_text("on another machine")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    shards.remove_left(tmp_path)
    assert list(tmp_path.glob("part-*.tmp")) == [elsewhere]
    os.utime(elsewhere, (1e9, 1e9))
    for name in (
        "part-1.tmp",
        "part-.tmp",
        f"part-1.{shards.HOST}.{'9' * 200}.tmp",
        f"part-1.{shards.HOST}.\u0663.tmp",
    ):
        (tmp_path / name).write_text("of another program")
        os.utime(tmp_path / name, (1e9, 1e9))
    shards.remove_left(tmp_path)
    assert not list(tmp_path.glob("part-*.tmp"))


@pytest.mark.parametrize("text", ["", "[]", "3", "[" * 5000, "{", '{"of": NaN}'])
def test_facts_of_a_folder_that_are_none(tmp_path, text):
    (tmp_path / "words.json").write_text(text)
    with pytest.raises(RunError):
        shards.process(["a"], tmp_path, Words())


def test_a_report_opens_no_place_that_others_name(pictures, tmp_path, monkeypatch):
    from vlprompt.report.what_can_be_shown import gather_evidence as gather

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    events = fault_jobs.fit_here(pictures, tmp_path / "run")
    assert events.info.data.seal
    assert gather(tmp_path / "run", backbone=fault_jobs.backbone()).dataset is not None
    file = tmp_path / "run" / "run.json"
    whole = json.loads(file.read_text())
    for change in ({"origin": {"path": "/etc"}}, {"seal": "f" * 32}, {"seal": None}, {"seal": ""}):
        file.write_text(json.dumps(whole | {"data": whole["data"] | change}))
        found = gather(tmp_path / "run", backbone=fault_jobs.backbone())
        assert found.dataset is None and "--data says where its pictures are" in found.missing["dataset"]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another"))
    file.write_text(json.dumps(whole))
    assert gather(tmp_path / "run", backbone=fault_jobs.backbone()).dataset is None
    found = gather(tmp_path / "run", data=str(pictures), backbone=fault_jobs.backbone())
    assert found.dataset is not None


def test_seals(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    origin = {"path": "/photos\udce9", "root": None}
    assert not is_sealed(origin, "x") and sealed(None) is None
    seal = sealed(origin)
    assert (
        is_sealed(origin, seal)
        and not is_sealed(origin | {"path": "/etc"}, seal)
        and not is_sealed(None, seal)
    )
    key = tmp_path / "home" / "vlprompt" / "seal.key"
    assert key.stat().st_mode & 0o077 == 0 and len(list(key.parent.iterdir())) == 1
    key.write_bytes(b"short")
    assert sealed(origin) is None and not is_sealed(origin, seal)
    monkeypatch.setenv("XDG_DATA_HOME", "/dev/null/nowhere")
    assert sealed(origin) is None


def test_of_a_run_from_elsewhere_no_other_place_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    folder = {
        "path": "/etc",
        "labels": "/etc/passwd",
        "classes": {"a": "b"},
        "val_fraction": 0.2,
        "root": None,
    }
    folder["changes"] = [{"add": "x", "files": ["/etc/passwd"]}]
    assert openable(folder, None) == {"val_fraction": 0.2, "root": None}
    assert openable(folder, sealed(folder)) == folder
    named = {"path": "caltech101", "root": "/data", "seed": 1}
    assert openable(named, None) == named
    assert "path" not in openable({"path": "/etc", "root": "/data"}, None)


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX")
def test_names_that_are_no_unicode_are_written(tmp_path):
    """As bytes, so that they can be found again; parquet takes no others."""
    pq = pytest.importorskip("pyarrow.parquet")
    from PIL import Image
    from support import save_huggingface

    from vlprompt.collections.embedding import Loading, embed
    from vlprompt.collections.predicting import WRITERS
    from vlprompt.runs.run import Prediction

    names = (b"a\xff.png", b"line\nbreak.png", "e\u0301 \u202e.png".encode(), b"broken\xfe.png")
    pictures = [os.fsdecode(os.path.join(os.fsencode(tmp_path), name)) for name in names]
    for picture in pictures[:3]:
        Image.new("RGB", (40, 40)).save(picture)
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/out\xff"))
    done = embed(pictures, out, Loading(str(save_huggingface(tmp_path / "backbone")), "cpu"))
    assert (done.done, done.errors) == (4, 1)
    with (out / "part-00000.parquet").open("rb") as file:
        rows = pq.read_table(file).to_pylist()
    wanted = [picture.encode(errors="backslashreplace").decode() for picture in pictures]
    assert [row["path"] for row in rows] == wanted and "broken" in rows[3]["error"]
    said = [Prediction(picture, (("a", 1.0),), error=f"{picture}: broken") for picture in pictures]
    for kind in ("parquet", "jsonl", "csv"):
        WRITERS[kind](said, tmp_path / f"x.{kind}")
    assert [row["path"] for row in pq.read_table(tmp_path / "x.parquet").to_pylist()] == wanted
    lines = (tmp_path / "x.jsonl").read_bytes().decode().splitlines()
    assert [json.loads(line)["path"] for line in lines] == pictures
