"""PromptClassifier that is calibrated, and that says unknown."""

import numpy as np
import pytest
from small_data import pictures_and_labels
from support import tiny_backbone

from vlprompt.errors import OptionError, RunError
from vlprompt.estimator import PromptClassifier

TRAIN = {"epochs": 2, "batch": 4, "views": 1, "warmup_epochs": 0, "lr": 0.02}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


def make(backbone, **more):
    return PromptClassifier(method="lamm", backbone=backbone, train=TRAIN, cache=False, **more)


@pytest.fixture(scope="module")
def fitted(backbone):
    return make(backbone, calibrate=True, validation_fraction=0.4).fit(*pictures_and_labels(5))


def test_a_part_of_every_class_is_kept_for_validation(fitted):
    assert (fitted.run_.info.data.train, fitted.run_.info.data.val) == (12, 8)
    assert fitted.run_.calibrated and fitted.score_ is not None


def test_unsure_pictures_are_unknown(fitted):
    arrays, _ = pictures_and_labels(5)
    plain, careful = fitted.predict(arrays), fitted.predict(arrays, reject=0.3)
    unknown = careful == "unknown"
    assert unknown.any() and not (plain == "unknown").any()
    assert (careful[~unknown] == plain[~unknown]).all()
    assert (
        fitted.run_.unknown(arrays, 0.3) == unknown
    ).all()  # those least like the classes that were learned


def test_numbers_stay_numbers(backbone):
    arrays, labels = pictures_and_labels(4)
    numbers = np.unique(labels, return_inverse=True)[1]
    own = make(backbone, validation_fraction=0.3).fit(arrays, numbers)
    assert not own.run_.calibrated
    found = own.predict(arrays, reject=0.2)
    assert found.dtype.kind == "i" and set(found) <= {-1, 0, 1, 2, 3} and -1 in found


def test_without_validation_pictures_nothing_can_be_rejected(backbone):
    arrays, labels = pictures_and_labels(2)
    own = make(backbone).fit(arrays, labels)
    with pytest.raises(RunError, match="no validation pictures"):
        own.predict(arrays, reject=True)
    with pytest.raises(OptionError, match="validation_fraction"):
        make(backbone, validation_fraction=1.5).fit(arrays, labels)
