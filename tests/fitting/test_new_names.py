"""How new names stand beside learned ones: what is usual, and what classes that are left out show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.dataset import Item
from vlprompt.data.task import Task
from vlprompt.feeding.inputs import FeatureInputs
from vlprompt.fitting import new_names
from vlprompt.fitting.new_names import AT_ONE, EACH_DOUBLING, _offset, _Seen, for_new_names

NAMES = ("cat", "dog", "red fox", "tea pot", "bird", "small car")


def inputs(backbone, classes, pictures):
    """Pictures around the text features of their names."""
    task = Task(NAMES[:classes])
    text = methods.load("zeroshot").build(backbone, task, {}).frozen_text()
    labels = torch.arange(classes).repeat_interleave(pictures)
    noise = torch.randn(len(labels), text.shape[1], generator=torch.Generator().manual_seed(0))
    features = torch.nn.functional.normalize(text[labels] + 0.3 * noise / text.shape[1] ** 0.5, dim=-1)
    items = [Item(f"{i}.png", int(label)) for i, label in enumerate(labels)]
    return task, FeatureInputs(labels=labels, items=items, skipped=[], features=features[None])


def found(classes=6, pictures=6, seed=1):
    backbone = tiny_backbone()
    task, training = inputs(backbone, classes, pictures)
    asked = []

    def learn(name, known, part):
        asked.append((name, known.class_names, part.labels.tolist()))
        options = {"strength": 10.0} if name == "linear_probe" else {}
        method = methods.load(name).build(backbone, known, options)
        if method.facts.learns:
            method.prepare(part.features, part.labels, part.features[0, :0], part.labels[:0])
        return method.eval()

    weights = {"linear_probe": 1.0, "zeroshot": 0.1}
    return for_new_names(training, task, weights, ["zeroshot"], learn, seed), asked


def test_classes_are_left_out_in_turn_and_none_is_learned_from_while_it_is():
    new, asked = found()
    assert new.weights == {"zeroshot": 1.0}
    probes = [(names, labels) for name, names, labels in asked if name == "linear_probe"]
    for names, labels in probes:
        assert set(labels) == set(range(len(names)))
    left = [set(NAMES) - set(names) for names, _ in probes]
    assert sorted(name for names in left for name in names) == sorted(NAMES)


def test_the_same_seed_gives_the_same():
    assert found()[0] == found()[0]


@pytest.mark.parametrize(("classes", "pictures"), [(2, 6), (6, 1), (6, 2)])
def test_what_is_usual_holds_where_too_little_can_be_left_out(classes, pictures):
    new, asked = found(classes, pictures)
    assert not asked and new.offset == pytest.approx(AT_ONE + EACH_DOUBLING * np.log2(pictures), abs=1e-4)


def test_what_left_out_classes_show_counts_the_more_pictures_there_are(monkeypatch):
    monkeypatch.setattr(new_names, "_offset", lambda shown, weights: 10.0)
    for pictures, share in ((4, 24 / 124), (16, 96 / 196)):
        usual = AT_ONE + EACH_DOUBLING * np.log2(pictures)
        assert found(6, pictures)[0].offset == pytest.approx(10 * share + usual * (1 - share), abs=1e-4)


def test_the_offset_parts_learned_and_new_classes_where_that_can_be():
    """Learned classes lead by 3 or more on their own pictures, and by 1 or less on those of new ones."""
    learned = np.array([[5.0, 0.0], [0.0, 4.0], [2.0, 0.0], [1.5, 0.0]])
    new = {"zeroshot": np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.5, 1.0]])}
    seen = _Seen(
        learned, {"zeroshot": learned}, new, np.array([0, 1, 2, 3]), np.array([False, False, True, True])
    )
    assert 1.0 < _offset([seen], {"zeroshot": 1.0}) < 3.0
    offset, surer = _offset([seen], {"zeroshot": 1.0}), replace(seen, learned=learned + 4)
    assert _offset([surer], {"zeroshot": 1.0}) == pytest.approx(
        offset, abs=0.25
    )  # they share what `known` gives them
    favoured = replace(seen, known={"zeroshot": learned + 4})
    assert _offset([favoured], {"zeroshot": 1.0}) == pytest.approx(offset + 4, abs=0.25)
