"""Every picture counts: whole folders are learned from, and each picture is judged by what the others teach."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import picture_folder
from support import tiny_backbone

from vlprompt.data.opening import open_dataset
from vlprompt.errors import OptionError
from vlprompt.fitting.learning import fit
from vlprompt.fitting.measuring import CROSSED, Measure, divided, per_class, stratified
from vlprompt.runs.predictions_file import read_predictions
from vlprompt.runs.run import Run
from vlprompt.training.loop import train

TRAIN = {"epochs": 2, "batch": 6, "warmup_epochs": 0}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder of four classes of five pictures, without splits."""
    folder = picture_folder(tmp_path_factory.mktemp("data"), {"all": 5})
    return folder / "all"


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(2, 8), st.integers(0, 9))
def test_every_picture_is_held_out_once_and_no_class_is_ever_without(labels, count, seed):
    folds = stratified(labels, count, seed)
    y = np.array(labels)
    counts = np.bincount(y)
    held = np.concatenate([fold.held.numpy() for fold in folds]) if folds else np.zeros(0, int)
    expected = [i for i, label in enumerate(labels) if counts[label] > 1]
    assert sorted(held.tolist()) == (expected if folds else []) and bool(folds) == (counts.max() > 1)
    for fold in folds:
        assert not set(fold.held.tolist()) & set(fold.learned.tolist())
        assert len(fold.held) + len(fold.learned) == len(labels)
        assert set(y[fold.learned.numpy()]) == set(y)
        parts = np.bincount(y[fold.held.numpy()], minlength=len(counts))
        assert (parts <= np.ceil(counts / len(folds)) + 1).all()


def test_the_same_seed_deals_alike():
    one, two, other = (stratified([0, 1] * 10, 4, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a.held, b.held) for a, b in zip(one, two, strict=True))
    assert any(not torch.equal(a.held, b.held) for a, b in zip(one, other, strict=True))


def test_a_plain_folder_is_learned_from_whole(backbone, plain, tmp_path):
    run = fit(plain, "coop", backbone, train=TRAIN, cache=False, out=tmp_path / "run")
    info = run.info
    assert (info.data.train, info.data.test, info.data.per_class) == (20, 0, (5, 5))
    assert info.reported == CROSSED and info.learned.count == info.zero_shot.count == info.probe.count == 20
    assert any("all 20 pictures are learned from" in text for text in info.notices)
    said = read_predictions(tmp_path / "run")
    assert len({one.path for one in said}) == 20 and {one.split for one in said} == {CROSSED}
    assert sum(one.right for one in said) == info.learned.correct
    assert info.calibration.fitted_on == CROSSED and info.pictures_text == "5 of each class"
    assert "20 (5 of each class)" in (tmp_path / "run" / "README.md").read_text()


def test_what_is_held_out_is_not_learned_from(backbone, plain):
    run = fit(plain, "coop", backbone, train=TRAIN, cache=False, measure=Measure(test=0.4, val=0.2))
    assert (run.info.data.train, run.info.data.val, run.info.data.test) == (8, 4, 8)
    assert run.info.reported == "test" and run.info.scores["test"].count == 8


def test_given_splits_are_respected_and_drawn_ones_are_taken_back(plain, tmp_path):
    given_splits = open_dataset(picture_folder(tmp_path / "given"))
    assert divided(given_splits, Measure(test=0.3)) is given_splits
    drawn = open_dataset(plain)
    assert set(drawn.splits) == {"train", "val", "test"}
    assert len(divided(drawn, Measure()).splits["train"]) == 20
    asked = open_dataset(plain, test_fraction=0.4)
    assert divided(asked, Measure()) is asked
    with pytest.raises(OptionError, match="leave no picture"):
        Measure(test=0.6, val=0.5)
    with pytest.raises(OptionError, match="folds is 1"):
        Measure(folds=1)


def test_shots_mean_what_they_say(backbone, plain):
    run = fit(plain, "zeroshot", backbone, shots=2, cache=False)
    assert run.info.data.train == 8 and run.info.pictures_text == "2 of each class"
    many = fit(plain, "lamm", backbone, shots=16, train=TRAIN, cache=False)
    assert many.info.task_shots == 5 and many.info.pictures_text == "5 of each class"


def test_cross_validation_judges_by_what_the_others_teach(backbone, plain, monkeypatch):
    """No picture is judged by a probe that has seen it: each fold's weights come from the other pictures."""
    from vlprompt.methods import linear_probe

    seen = []
    real = linear_probe.LinearProbe.prepare

    def spied(self, features, labels, *rest):
        seen.append(features.shape[1])
        return real(self, features, labels, *rest)

    monkeypatch.setattr(linear_probe.LinearProbe, "prepare", spied)
    fit(plain, "linear_probe", backbone, cache=False)
    assert (
        sorted(set(seen)) == [16, 20] and seen.count(16) == 10
    )  # five folds of the run, five of the reference


def test_rejection_is_by_likeness_chosen_by_cross_validation(backbone, plain, tmp_path):
    run = fit(plain, "linear_probe", backbone, cache=False, out=tmp_path / "run")
    assert run.info.rejection.chosen_on == CROSSED and len(run.info.rejection.likeness) == 100
    again = Run.load(tmp_path / "run", backbone)
    assert np.array_equal(again.known, run.known) and np.allclose(
        np.linalg.norm(again.known, axis=1), 1, atol=1e-5
    )
    pictures = sorted(plain.rglob("*.png"))
    noise = np.random.default_rng(0).integers(0, 256, (6, 48, 48, 3)).astype(np.uint8)
    known, strange = again.unknown(pictures, 0.95), again.unknown(noise, 0.95)
    assert known.mean() <= 0.2 and strange.mean() > known.mean()
    assert [one.rejected for one in again.predict(pictures, reject=0.95)] == known.tolist()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["measure"]["folds"] == 5


def test_counts_of_classes():
    from vlprompt.data.dataset import Item

    assert per_class([Item("a", 0), Item("b", 0), Item("c", 2)]) == (1, 2) and per_class([]) == (0, 0)


def test_with_few_pictures_every_training_has_its_steps(backbone, plain, monkeypatch):
    """The one that is kept, and those that judge it, which have fewer pictures and so more epochs; views stay those there are."""
    seen = []

    def noted(method, inputs, options, **more):
        seen.append((len(inputs), options.epochs, options.view_count(), inputs.features.shape[0]))
        return train(method, inputs, options, **more)

    monkeypatch.setattr("vlprompt.fitting.lesson.train", noted)
    settings = TRAIN | {"epochs": 3, "least_steps": 16, "views": "epoch"}
    run = fit(plain, "coop", backbone, train=settings, cache=False, measure=Measure(folds=4))
    assert [pictures for pictures, *_ in seen] == [20] + [15] * 4
    assert [epochs for _, epochs, *_ in seen] == [6] + [8] * 4  # 3 and 2 steps each
    assert all(views == there == 6 for *_, views, there in seen)
    assert (run.info.training.epochs, run.info.training.steps, run.info.train["epochs"]) == (6, 18, 3)
