"""Processes killed at any moment: nothing is damaged, and going on ends in the same numbers."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import fault_jobs
import pytest
import torch
from fault_jobs import BATCHES, backbone, fit_and_die, hold, sweep_and_die, value_of, write_cache

from vlprompt.errors import RunError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.fitting.learning import fit
from vlprompt.runs.run import INFO, Run
from vlprompt.sweeps.sweep import sweep
from vlprompt.training.checkpoints import FILE, read

pytestmark = pytest.mark.slow
KILLS = {"coop+lamm": 16, "maple": 6, "overwritten": 8, "sweep": 8, "cache": 16}  # 54 in all
MORE = {"maple": {"options": {"depth": 2}}}


def tensors(folder):
    return Run.load(folder, backbone()).learned.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def numbers(folder):
    """The log without times."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [
        {k: r.get(k) for k in ("event", "epoch", "step", "loss", "terms")}
        for r in rows
        if r["event"] in ("step", "epoch")
    ]


def check_unfinished(folder):
    """What a killed process leaves: a run that loads, or none, and a checkpoint that can be read, or none."""
    if (folder / INFO).exists():
        assert Run.load(folder, backbone()).learned.state_dict()
    if (folder / FILE).exists():
        assert read(folder / FILE) is not None
    if (folder / "log.jsonl").exists():
        for line in (folder / "log.jsonl").read_text().splitlines():
            json.loads(line)


@pytest.mark.parametrize("method", ["coop+lamm", "maple"])
def test_killed_trainings_end_in_the_same_numbers(children, pictures, tmp_path, method):
    more = MORE.get(method, {})
    events = children.run(fit_and_die, 0, pictures, method, tmp_path / "whole", more)
    chance, kills, number = random.Random(method), 0, 0
    while kills < KILLS[method]:
        folder, number = tmp_path / f"run{number}", number + 1
        while children.run(fit_and_die, chance.randint(1, events), pictures, method, folder, more) is None:
            kills += 1
            if folder.exists():
                check_unfinished(folder)
        assert same(tensors(folder), tensors(tmp_path / "whole"))
        assert numbers(folder) == numbers(tmp_path / "whole")
        left = {path.name for path in folder.iterdir()}
        assert left == {path.name for path in (tmp_path / "whole").iterdir()}  # no locks, no halves


def test_killed_while_a_run_is_replaced(children, pictures, tmp_path):
    """There is the old run, the new one or none that is finished; never a mixture."""
    old, new, folder = tmp_path / "old", tmp_path / "new", tmp_path / "run"
    children.run(fit_and_die, 0, pictures, "coop", old, {"seed": 1})
    events = children.run(fit_and_die, 0, pictures, "coop", new, {"seed": 2})
    children.run(fit_and_die, 0, pictures, "coop", folder, {"seed": 1})
    chance = random.Random("overwritten")
    for kill in range(KILLS["overwritten"]):
        at = events - kill if kill < 6 else chance.randint(1, events)  # most of them while it is saved
        more = {"seed": 2, "overwrite": True, "resume": False}
        assert children.run(fit_and_die, at, pictures, "coop", folder, more) is None
        if (folder / INFO).exists():
            assert any(same(tensors(folder), tensors(other)) for other in (old, new))
    children.run(fit_and_die, 0, pictures, "coop", folder, {"seed": 2, "overwrite": True})
    assert same(tensors(folder), tensors(new))


def test_killed_sweeps_end_with_the_same_results(children, pictures, tmp_path, monkeypatch):
    from support import save_huggingface

    monkeypatch.setenv("VLPROMPT_CACHE", "off")
    grid = {
        "methods": ["zeroshot", "coop"],
        "data": [str(pictures)],
        "shots": [1],
        "seeds": [1, 2],
        "device": "cpu",
        "backbone": str(save_huggingface(tmp_path / "backbone")),
        "cache": False,
        "train": {"epochs": 2, "batch": 4, "views": 1, "save_seconds": 0},
    }

    def placed(name):
        return grid | {"out": str(tmp_path / name / "results.jsonl"), "runs": str(tmp_path / name / "runs")}

    events = children.run(sweep_and_die, 0, placed("whole"), tmp_path / "whole")
    chance, kills, number = random.Random("sweep"), 0, 0
    while kills < KILLS["sweep"]:
        name, number = f"parts{number}", number + 1
        while children.run(sweep_and_die, chance.randint(1, events), placed(name), tmp_path / name) is None:
            kills += 1
        found = sweep(placed(name))
        assert not found.failed and not found.now and len(found.records) == 4
        assert results(tmp_path / name) == results(tmp_path / "whole")


def results(folder):
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    kept = [
        {k: v for k, v in row.items() if k not in ("seconds", "total_seconds", "folder", "memory")}
        for row in rows
    ]
    return sorted(kept, key=lambda row: row["key"])


def test_killed_writers_of_the_cache_lose_nothing_that_was_written(children, tmp_path):
    chance, written = random.Random("cache"), set()
    for kill in range(KILLS["cache"]):
        process, pipe = children.start(write_cache, tmp_path, kill * BATCHES)
        assert pipe.recv() == kill * BATCHES  # it is at work
        written.add(kill * BATCHES)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        while pipe.poll():
            try:
                written.add(pipe.recv())
            except EOFError:
                break
    cache = FeatureCache(tmp_path)
    for batch in range(KILLS["cache"] * BATCHES):
        held = cache.get_many([f"{batch}-{number}" for number in range(20)])
        there = [value is not None for value in held]
        assert all(there) or (batch not in written and not any(there))  # whole batches
        assert all(value is None or (value == value_of(batch, n)).all() for n, value in enumerate(held))


def test_a_second_fit_in_a_folder_is_refused_until_the_first_ends(children, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("vlprompt.locks.WAIT", 0.0)
    whole = fit(pictures, "coop", backbone=backbone(), shots=3, train=fault_jobs.TRAIN, cache=False)
    process, pipe = children.start(hold, pictures, tmp_path / "run")
    assert pipe.recv() == "training"
    begun = {
        "backbone": backbone(),
        "out": tmp_path / "run",
        "shots": 3,
        "train": fault_jobs.TRAIN,
        "cache": False,
    }
    with pytest.raises(
        RunError, match="another command is at work in it: wait for its end, or choose another folder"
    ):
        fit(pictures, "coop", **begun)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert same(fit(pictures, "coop", **begun).learned.state_dict(), whole.learned.state_dict())
    assert not (tmp_path / "run" / ".lock").exists()


def test_two_trainings_share_a_cache(children, pictures, tmp_path):
    alone = children.run(fit_and_die, 0, pictures, "coop", tmp_path / "alone", {})
    cache = FeatureCache(tmp_path / "cache")
    both = [
        children.start(fit_and_die, 0, pictures, "coop", tmp_path / name, {"cache": cache})
        for name in ("one", "two")
    ]
    for process, pipe in both:
        process.join()
        assert process.exitcode == 0 and pipe.recv() >= alone - 20
    assert same(tensors(tmp_path / "one"), tensors(tmp_path / "alone"))
    assert same(tensors(tmp_path / "two"), tensors(tmp_path / "alone"))
    assert cache.info().entries > 0
