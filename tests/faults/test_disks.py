"""Full disks, folders that cannot be written, and files that are damaged on the disk."""

from __future__ import annotations

import errno
import json
import os
import random
import tempfile
import warnings

import numpy as np
import pytest
import torch
from fault_jobs import backbone

from vlprompt.errors import DataError, RunError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.fitting.learning import fit
from vlprompt.runs import records
from vlprompt.runs.run import TENSORS, Run
from vlprompt.training.checkpoints import FILE, Checkpoints, State, read

TRAIN = {"epochs": 2, "batch": 6, "views": 2, "warmup_epochs": 0, "save_seconds": 0}


def learn(data, out=None, method="coop", **more):
    settings = {"backbone": backbone(), "shots": 3, "train": TRAIN, "cache": False}
    return fit(data, method, out=out, **(settings | more))


def same(one, other):
    return all(
        torch.equal(value, other.learned.state_dict()[name])
        for name, value in one.learned.state_dict().items()
    )


def fill(folder, left):
    """Takes all of the disk but some bytes."""
    found = os.statvfs(folder)
    with open(folder / "filler", "wb") as file:
        file.write(bytes(max(0, found.f_bavail * found.f_frsize - left)))


# -- full --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 4096, 16384])
def test_a_training_survives_a_full_disk(pictures, small_disk, tmp_path, monkeypatch, left):
    """It ends, says where the run is kept, and the same command ends well once there is space."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    whole, out, told = learn(pictures), small_disk / "run", []
    out.mkdir()

    def when_begun(record):
        told.append(record)
        if record["event"] == "training":
            fill(small_disk, left)

    with pytest.raises(
        RunError, match="cannot be written .No space left on device.; the run is kept in "
    ) as caught:
        learn(pictures, out, progress=when_begun)
    kept = Run.load(str(caught.value).rpartition(" ")[2], backbone())
    assert same(kept, whole) and len([r for r in kept.log if r["event"] == "epoch"]) == 2
    assert sum("no checkpoint can be written" in r.get("text", "") for r in told) == 1
    (small_disk / "filler").unlink()
    assert same(learn(pictures, out), whole)
    assert len([r for r in Run.load(out, backbone()).log if r["event"] == "epoch"]) == 2


def test_a_cache_on_a_full_disk_is_left_alone(pictures, small_disk, recwarn):
    fill(small_disk, 300_000)
    cache = FeatureCache(small_disk / "cache")
    cache.put("a", np.ones(10, np.float32))
    for number in range(5):
        cache.put(str(number), np.ones(50_000, np.float32))
    assert len(recwarn) == 1 and "going on without" in str(recwarn[0].message)
    assert cache.get("a").tolist() == [1] * 10
    assert same(learn(pictures, cache=cache), learn(pictures))
    cache.close()


def test_results_on_a_full_disk_lose_the_last_line_alone(small_disk):
    path = small_disk / "results.jsonl"
    record = {"protocol": "few_shot", "method": "coop", "text": "x" * 9000}
    records.append(path, record)
    fill(small_disk, 4096)
    with pytest.raises(OSError, match="No space left") as caught:
        for _ in range(3):
            records.append(path, record)
    assert caught.value.errno == errno.ENOSPC
    (small_disk / "filler").unlink()
    before = len(records.read(path))
    records.append(path, record)
    assert records.read(path)[-1] == record and len(records.read(path)) == before + 1


def test_a_short_write_is_no_written_line(tmp_path, monkeypatch):
    """The same without a disk that is full: the system takes a part of the line."""
    path, write = tmp_path / "results.jsonl", os.write
    record = {"protocol": "few_shot", "method": "coop"}
    records.append(path, record)
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
    with pytest.raises(OSError, match="No space left"):
        records.append(path, record)
    monkeypatch.undo()
    records.append(path, record)
    assert records.read(path) == [record, record]


# -- not writable ------------------------------------------------------------------------------------------


def test_what_lies_in_a_read_only_folder_is_used(pictures, read_only):
    place, lock = read_only
    run, cache = learn(pictures, place / "run"), FeatureCache(place / "cache")
    cache.put("a", np.ones(3, np.float32))
    cache.close()
    next(lock)
    assert same(learn(pictures, place / "run"), run)  # finished: loaded as it is
    with pytest.raises(RunError, match="cannot be written"):
        learn(pictures, place / "other")
    with pytest.raises(DataError, match="no results can be written there"):
        from vlprompt.sweeps.ledger import Ledger

        with Ledger(place / "results.jsonl"):
            pass
    cache = FeatureCache(place / "cache")
    with pytest.warns(RuntimeWarning, match="is read-only; nothing new is kept"):
        assert cache.get("a").tolist() == [1, 1, 1]
    cache.put("b", np.ones(3, np.float32))
    assert cache.get("b") is None
    assert same(learn(pictures, cache=cache), run)
    cache.close()


# -- damaged -----------------------------------------------------------------------------------------------


def damaged(data, chance):
    """Some bits flipped, or the end cut off."""
    if chance.random() < 0.2:
        return data[: chance.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 8, 200])):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_a_damaged_cache_gives_right_values_or_none(pictures, tmp_path):
    chance, whole = random.Random(1), FeatureCache(tmp_path)
    values = {f"key{n}": np.full(60, n, np.float32) for n in range(100)}
    whole.put_many(values.items())
    whole.close()
    data, lost, kept = (tmp_path / "features-1.sqlite").read_bytes(), 0, 0
    for _ in range(150):
        (tmp_path / "features-1.sqlite").write_bytes(damaged(data, chance))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cache = FeatureCache(tmp_path)
            for (_key, value), found in zip(values.items(), cache.get_many(list(values)), strict=True):
                assert found is None or np.array_equal(found, value)
                lost, kept = lost + (found is None), kept + (found is not None)
            cache.put("new", np.ones(3))  # and it goes on
            assert cache.get("new") is None or cache.get("new").tolist() == [1, 1, 1]
            cache.close()
        for end in ("-wal", "-shm"):
            (tmp_path / f"features-1.sqlite{end}").unlink(missing_ok=True)
    assert lost and kept


def test_damaged_names_inside_a_cache_file_are_no_crash(tmp_path):
    """SQLite quotes them in its message, which is then no UTF-8 (found by the fuzzer)."""
    cache = FeatureCache(tmp_path)
    cache.put("a", np.ones(3))
    cache.close()
    path = tmp_path / "features-1.sqlite"
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE features", b"CREATE TABL\xc6 featur\xc6s", 1))
    cache = FeatureCache(tmp_path)
    with pytest.warns(RuntimeWarning, match="is damaged"):
        assert cache.get("a") is None
    cache.put("a", np.ones(3))
    assert cache.get("a").tolist() == [1, 1, 1]
    cache.close()


def test_a_training_with_a_damaged_cache_ends_in_the_same_numbers(pictures, tmp_path):
    whole, cache, chance = learn(pictures), FeatureCache(tmp_path), random.Random(2)
    learn(pictures, cache=cache)
    cache.close()
    data = (tmp_path / "features-1.sqlite").read_bytes()
    for _ in range(5):
        changed = bytearray(data)
        for place in range(chance.randrange(50), len(data), 97):
            changed[place] ^= 1 << chance.randrange(8)
        (tmp_path / "features-1.sqlite").write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cache = FeatureCache(tmp_path)
            assert same(learn(pictures, cache=cache), whole)
            cache.close()


def test_a_remembered_hash_that_was_damaged_is_taken_again(pictures, tmp_path):
    """Features and views of a picture depend on the hash of its file."""
    import sqlite3

    from vlprompt.data.opening import open_dataset

    dataset = open_dataset(pictures)
    right = FeatureCache(tmp_path).content_hashes(dataset, dataset.all_items)
    with sqlite3.connect(tmp_path / "features-1.sqlite") as direct:
        direct.execute("UPDATE contents SET hash = 'f' || substr(hash, 2)")
    direct.close()
    assert FeatureCache(tmp_path).content_hashes(dataset, dataset.all_items) == right


def test_a_damaged_checkpoint_is_never_used(tmp_path):
    tensors = {"method.a": torch.arange(200.0), "optimizer.m.a": torch.ones(50, dtype=torch.bfloat16)}
    Checkpoints(tmp_path, "these").save(State(3, 2, tensors, {"best": 0.5}))
    data, chance, refused = (tmp_path / FILE).read_bytes(), random.Random(3), 0
    for _ in range(300):
        (tmp_path / FILE).write_bytes(damaged(data, chance))
        found = read(tmp_path / FILE)
        refused += found is None
        if (
            found is not None and found[1] == "these"
        ):  # what says nothing, such as spaces in the head, may change
            state = found[0]
            assert (state.epoch, state.step, state.numbers) == (3, 2, {"best": 0.5})
            assert all(torch.equal(state.tensors[name], value) for name, value in tensors.items())
    assert refused > 250


@pytest.mark.parametrize(
    "about",
    [
        {"settings": 5},
        {"settings": None},
        {"numbers": []},
        {"epoch": "1"},
        {"step": -1},
        {"epoch": True},
        {"numbers": "DEEP"},
        [],
        5,
    ],
)
def test_a_checkpoint_of_wrong_kinds_is_not_used(pictures, tmp_path, about):
    """Its sum can be right: whoever packed the folder can add one up."""
    from safetensors.torch import save_file

    from vlprompt.training.checkpoints import FILE, check_sum, read

    whole = {"epoch": 1, "step": 0, "numbers": {}, "settings": "x+y"}
    text = json.dumps(whole | about if isinstance(about, dict) else about)
    text = text.replace('"DEEP"', "[" * 50_000 + "]" * 50_000)
    held = {"a": torch.zeros(1)}
    save_file(held, tmp_path / FILE, {"state": text, "check": check_sum(text, held)})
    assert read(tmp_path / FILE) is None
    assert learn(pictures, tmp_path).info.method == "coop"


def test_a_damaged_run_is_refused(pictures, tmp_path):
    learn(pictures, tmp_path)
    data, chance = (tmp_path / TENSORS).read_bytes(), random.Random(4)
    for _ in range(20):
        (tmp_path / TENSORS).write_bytes(damaged(data, chance))
        with pytest.raises(RunError, match="damaged, or not of this run.*learn it again with --overwrite"):
            Run.load(tmp_path, backbone())
    learn(pictures, tmp_path, overwrite=True)
    assert Run.load(tmp_path, backbone())


def test_a_damaged_log_costs_its_lines_alone(pictures, tmp_path):
    run = learn(pictures, tmp_path)
    data = (tmp_path / "log.jsonl").read_bytes()
    for place, new in ((10, b"\xff\xfe"), (30, b"\n[1]\n"), (len(data) - 3, b"")):
        (tmp_path / "log.jsonl").write_bytes(data[:place] + new + data[place + 2 :])
        assert len(run.log) - 3 <= len(Run.load(tmp_path, backbone()).log) <= len(run.log)
