"""Runs that go on with further classes: saved, loaded and extended again, the old classes stay as they were."""

from __future__ import annotations

import pytest
import torch
from small_data import picture_folder
from support import tiny_backbone

from vlprompt.data.opening import open_dataset
from vlprompt.data.sampling import Split
from vlprompt.errors import OptionError
from vlprompt.fitting.learning import learn
from vlprompt.fitting.plan import make_plan
from vlprompt.methods.base import Batch
from vlprompt.runs.run import Run


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_dataset(picture_folder(tmp_path_factory.mktemp("data")))


def session(data, known: int, classes: int) -> Split:
    """Training pictures of the classes from `known` on, test pictures of all."""
    train = [item for item in data.items("train") if known <= item.label < classes]
    test = [item for item in data.items("test") if item.label < classes]
    return Split(data.class_names[:classes], train, [], test, 3, 1)


def text_features(run: Run) -> torch.Tensor:
    with torch.no_grad():
        pixels = torch.zeros(1, 3, 32, 32)
        return run.method.eval()(Batch(pixels=pixels)).text


@pytest.mark.parametrize("method", ["lamm", "coop+lamm", "maple+lamm"])
def test_old_classes_stay_the_same_through_every_save(backbone, data, tmp_path, method):
    small = {"depth": 2} if method == "maple+lamm" else {"context_tokens": 2} if method == "coop+lamm" else {}
    plan = make_plan(method, small, {"epochs": 2, "batch": 4, "views": 1, "warmup_epochs": 0, "lr": 0.1})
    run, texts = None, None
    for known, classes in ((0, 2), (2, 3), (3, 4)):
        folder = tmp_path / f"{classes}"
        made = learn(data, session(data, known, classes), backbone, plan, out=folder, cache=False, after=run)
        run = Run.load(folder, backbone)
        assert run.class_names == data.class_names[:classes]
        assert torch.equal(text_features(run), text_features(made))
        if texts is not None:
            assert torch.equal(text_features(run)[:known], texts)  # not a bit of what was learned before
            fresh = learn(data, session(data, known, classes), backbone, make_plan("zeroshot"), cache=False)
            assert not torch.allclose(text_features(run)[known:], text_features(fresh)[known:], atol=1e-4)
        texts = text_features(run)
    with pytest.raises(OptionError, match="its own classes first"):
        learn(
            data, Split(data.class_names[::-1], data.items("train"), [], [], 3, 1), backbone, plan, after=run
        )
