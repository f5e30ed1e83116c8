"""Predictions of picture collections as shards of files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from vlprompt.backbones.spec import BackboneSpec
from vlprompt.collections.predicting import predict
from vlprompt.errors import MissingExtra, OptionError, RunError
from vlprompt.fitting.learning import fit
from vlprompt.runs.run import Run


@pytest.fixture(scope="module")
def run(place, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "coop"
    fit(
        place / "pictures",
        "coop",
        shots=2,
        backbone=BackboneSpec(place / "backbone", device="cpu"),
        out=folder,
        cache=False,
        train={"epochs": 2, "batch": 4, "views": 1},
        options={"context_tokens": 2},
    )
    return folder


@pytest.fixture
def paths(place, tmp_path) -> list[str]:
    """Of the test pictures and of a file that is none."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    found = sorted(str(p) for p in (place / "pictures" / "test").rglob("*.png"))
    return [*found[:3], str(broken), *found[3:]]


def test_shards_say_what_one_process_says(run, paths, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    found = predict(run, paths, tmp_path / "out", top=2, shard=4, device="cpu")
    assert (found.shards, found.pictures, found.done, found.errors) == (3, 9, 9, 1)
    rows = [
        row for i in range(3) for row in pq.read_table(tmp_path / "out" / f"part-0000{i}.parquet").to_pylist()
    ]
    expected = Run.load(run, device="cpu").predict(paths, top=2)
    assert [row["path"] for row in rows] == paths
    for row, other in zip(rows, expected, strict=True):
        assert (row["label"], row["error"]) == (other.label, other.error)
        assert [entry["class"] for entry in row["top"]] == [name for name, _ in other.top]
        assert [entry["probability"] for entry in row["top"]] == pytest.approx(
            [p for _, p in other.top], abs=1e-6
        )
    assert "broken.png" in rows[3]["error"] and rows[3]["top"] == []


def test_texts_hold_the_same(run, paths, tmp_path):
    for kind in ("jsonl", "csv"):
        predict(run, paths, tmp_path / kind, top=2, kind=kind, shard=5, device="cpu")
    objects = [
        json.loads(line)
        for i in range(2)
        for line in (tmp_path / "jsonl" / f"part-0000{i}.jsonl").read_text().splitlines()
    ]
    assert [row["path"] for row in objects] == paths and objects[3]["error"]
    lines = [
        line
        for i in range(2)
        for line in csv.DictReader((tmp_path / "csv" / f"part-0000{i}.csv").read_text().splitlines())
    ]
    told = [(r["path"], e["class"], f"{e['probability']:.6f}") for r in objects for e in r["top"]]
    assert [(line["path"], line["class"], line["probability"]) for line in lines if not line["error"]] == told
    assert [line["path"] for line in lines if line["error"]] == [paths[3]]


def test_what_is_there_is_not_done_again(run, paths, tmp_path):
    out = tmp_path / "out"
    predict(run, paths, out, kind="csv", shard=4, device="cpu")
    (out / "part-00001.csv").unlink()
    kept = (out / "part-00000.csv").stat().st_mtime_ns
    told = []
    again = predict(
        run,
        paths,
        out,
        kind="csv",
        shard=4,
        device="cpu",
        on_shard=lambda shard, left: told.append((len(shard.pictures), left)),
    )
    assert again.done == 4 and told == [(4, 0)] and (out / "part-00000.csv").stat().st_mtime_ns == kept
    assert not list(out.glob("*.tmp"))
    with pytest.raises(RunError, match="differs in top"):
        predict(run, paths, out, top=1, kind="csv", shard=4)
    with pytest.raises(RunError, match="differs in kind"):
        predict(run, paths, out, kind="jsonl", shard=4)
    assert predict(run, paths[1:], out, kind="csv", shard=4, overwrite=True, device="cpu").done == 8
    assert predict(run, paths, tmp_path / "fresh", kind="csv", shard=4, device="cpu").pictures == 9
    (tmp_path / "fresh" / "predict.json").unlink()
    with pytest.raises(RunError, match="shards of something else"):
        predict(run, paths, tmp_path / "fresh", kind="csv", shard=4)


def test_settings_that_cannot_be_used(run, paths, tmp_path, monkeypatch):
    with pytest.raises(OptionError, match="parquet"):
        predict(run, paths, tmp_path, kind="parket")
    with pytest.raises(OptionError, match="top is 0"):
        predict(run, paths, tmp_path, top=0)
    with pytest.raises(RunError, match="no such run folder"):
        predict(tmp_path / "none", paths, tmp_path / "out", kind="csv")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"vlprompt\[embed\]"):
        predict(run, paths, tmp_path / "out")


def test_on_the_command_line(run, place, tmp_path, capsys):
    from vlprompt.cli.main import main

    words = [
        "predict",
        str(run),
        str(place / "pictures" / "test"),
        "--device",
        "cpu",
        "--shard",
        "64",
        "--top",
        "2",
    ]
    assert main([*words, "--csv"]) == 0
    alone = capsys.readouterr().out
    assert main([*words, "--csv", "--out", str(tmp_path / "found")]) == 0
    assert "8 pictures in 1 files; 8 done now, 0 of them unreadable" in capsys.readouterr().out
    assert (tmp_path / "found" / "part-00000.csv").read_text() == alone
    assert main([*words, "--ray", "auto"]) == 2
    assert "--out" in capsys.readouterr().err
