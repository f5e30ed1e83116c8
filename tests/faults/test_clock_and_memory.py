"""Clocks that jump, and less memory."""

from __future__ import annotations

import io
import os
import random
import time

import pytest
import torch
from fault_jobs import TRAIN, backbone
from rich.console import Console

from vlprompt.data.opening import open_dataset
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.fitting.learning import fit
from vlprompt.training.progress_bar import ProgressBar


def test_a_clock_that_jumps_changes_nothing(pictures, tmp_path, monkeypatch):
    whole = fit(pictures, "coop", backbone=backbone(), shots=3, train=TRAIN, cache=False)
    chance = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: chance.choice([0.0, 1e9, 4e9, -5.0]))
    monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9))
    told, terminal = [], io.StringIO()
    with ProgressBar(Console(file=terminal, width=100)) as bar:
        run = fit(
            pictures,
            "coop",
            backbone=backbone(),
            shots=3,
            train=TRAIN,
            cache=FeatureCache(tmp_path / "cache"),
            out=tmp_path / "run",
            progress=lambda record: (told.append(record), bar(record)),
        )
    steps = [r for r in told if r["event"] == "step"]
    assert all(r["eta"] >= 0 and r["images_per_s"] > 0 for r in steps)
    assert [r["seconds"] for r in steps] == sorted(r["seconds"] for r in steps)
    assert all(seconds >= 0 for seconds in run.info.timings.values())
    assert torch.equal(run.learned.context, whole.learned.context)
    assert "loss" in terminal.getvalue()


def test_pictures_from_the_future_and_the_past_are_read_when_they_change(pictures, tmp_path):
    picture = tmp_path / "data" / "cat" / "1.png"
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "1.png").write_bytes(
            (pictures / "test" / "red cat" / "0.png").read_bytes()
        )
    dataset, cache = open_dataset(tmp_path / "data"), FeatureCache(tmp_path / "cache")
    item = next(i for i in dataset.all_items if i.path.startswith("cat"))
    for moment in (4e9, 1.0, 2e9):  # seconds since 1970
        picture.write_bytes(picture.read_bytes() + b"more")
        os.utime(picture, (moment, moment))
        assert cache.content_hash(dataset, item) == dataset.content_hash(item)


@pytest.mark.parametrize("method", ["coop+lamm", "cocoop", "ctp"])
def test_less_memory_gives_the_same_numbers(pictures, method):
    """Classes are computed in parts; sums of floats in another order differ in the last digits."""
    told = []
    runs = [
        fit(
            pictures,
            method,
            backbone=backbone(),
            shots=3,
            cache=False,
            progress=told.append,
            options={"context_tokens": 60, "context_init": ""},
            train=TRAIN | {"epochs": 2, "memory": gigabytes},
        )
        for gigabytes in (4.0, 0.001)
    ]
    assert sum("classes are computed in parts" in r.get("text", "") for r in told) == 1
    ample, tight = (run.learned.state_dict() for run in runs)
    for name, value in ample.items():
        torch.testing.assert_close(tight[name], value, atol=1e-5, rtol=1e-4)
    assert runs[0].scores["test"]["accuracy"] == runs[1].scores["test"]["accuracy"]
