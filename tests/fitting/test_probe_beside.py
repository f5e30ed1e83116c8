"""A linear probe on the pictures that a run learned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vlprompt.backbones.loading import load_backbone
from vlprompt.data.opening import open_dataset
from vlprompt.errors import DataError
from vlprompt.fitting import probe_beside as module
from vlprompt.fitting.probe_beside import probe_beside


def test_it_learns_the_same_pictures_and_scores_them(place):
    data, backbone = open_dataset("photos"), load_backbone("embedded")
    seen: list[dict] = []
    scores = probe_beside(
        data, backbone, data.class_names, shots=3, seed=2, which="all", cache=None, emit=seen.append
    )
    test = scores["test"]
    assert 0 <= (test["accuracy"] if isinstance(test, dict) else test.accuracy) <= 100
    counted = [r["total"] for r in seen if r["event"] == "encoding" and r["what"].startswith("training")]
    assert counted and set(counted) == {9}


def test_other_classes_than_the_runs_are_refused(place):
    data, backbone = open_dataset("photos"), load_backbone("embedded")
    with pytest.raises(DataError, match="classes are not those"):
        probe_beside(data, backbone, ["a", "b"], shots=3, seed=2, which="all")
    renamed = replace(data, class_names=tuple(reversed(data.class_names)))
    with pytest.raises(DataError, match="classes are not those"):
        probe_beside(renamed, backbone, data.class_names, shots=3, seed=2, which="all")


def test_nobody_waits_for_thousands_of_pictures(place, monkeypatch):
    data, backbone = open_dataset("photos"), load_backbone("embedded")
    monkeypatch.setattr(module, "MOST_SHOTS", 1)
    with pytest.raises(DataError, match="would take long"):
        probe_beside(data, backbone, data.class_names, shots=0, seed=1, which="all")
