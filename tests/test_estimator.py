import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_data import picture_folder, pictures_and_labels
from support import tiny_backbone

from vlprompt.errors import DataError, OptionError, RunError
from vlprompt.estimator import PromptClassifier

TRAIN = {"epochs": 4, "batch": 4, "views": 1, "warmup_epochs": 0, "lr": 0.02}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


def make(backbone, **more):
    return PromptClassifier(
        **({"method": "lamm", "backbone": backbone, "train": TRAIN, "cache": False} | more)
    )


@pytest.fixture(scope="module")
def fitted(backbone):
    return make(backbone).fit(*pictures_and_labels(3))


@pytest.mark.parametrize("kind", ["arrays", "stack", "pil", "bytes", "paths"])
def test_every_kind_of_picture_gives_the_same(backbone, fitted, tmp_path, kind):
    arrays, labels = pictures_and_labels(3)
    paths = [tmp_path / f"{i}.png" for i in range(len(arrays))]
    for array, path in zip(arrays, paths, strict=True):
        Image.fromarray(array).save(path)
    pictures = {
        "arrays": arrays,
        "stack": np.stack(arrays),
        "pil": [Image.fromarray(a) for a in arrays],
        "bytes": [p.read_bytes() for p in paths],
        "paths": paths,
    }[kind]
    assert np.allclose(fitted.predict_proba(pictures), fitted.predict_proba(arrays), atol=1e-6)
    own = make(backbone).fit(pictures, labels)
    assert own.classes_.tolist() == sorted(set(labels))
    assert own.score(pictures, labels) == (own.predict(pictures) == np.asarray(labels)).mean()


def test_probabilities_are_in_the_order_of_classes(fitted):
    arrays, labels = pictures_and_labels(3)
    probabilities = fitted.predict_proba(arrays)
    assert probabilities.shape == (12, 4) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (fitted.classes_[probabilities.argmax(1)] == fitted.predict(arrays)).all()
    assert fitted.score(arrays, labels) > 0.5
    assert fitted.predict(arrays[0]).shape == (1,)


def test_labels_come_back_as_they_were_given(backbone):
    arrays, labels = pictures_and_labels(3)
    names = sorted(set(labels))
    numbers = [10 * names.index(label) for label in labels]
    own = make(backbone, classes={str(10 * i): name for i, name in enumerate(names)}).fit(arrays, numbers)
    assert own.classes_.tolist() == [0, 10, 20, 30] and own.classes_.dtype.kind == "i"
    assert set(own.class_names_) == set(names)
    assert (own.predict(arrays) == numbers).mean() > 0.5


def test_named_classes_without_pictures_are_classes_too(backbone):
    arrays, _ = pictures_and_labels(1)
    own = make(backbone, classes=["zebra", "ant", "moth"]).fit(arrays, [0, 1, 1, 0])
    assert own.classes_.tolist() == [0, 1, 2]
    assert own.class_names_.tolist() == ["zebra", "ant", "moth"]
    assert own.predict_proba(arrays).shape == (4, 3)


def test_numbers_from_one_get_their_names_in_order(backbone):
    pictures, _ = pictures_and_labels(2)
    own = make(backbone, classes=["blue sea", "green dog", "grey fog", "red cat"])
    own.fit(pictures, np.repeat([1, 2, 3, 4], 2))
    assert own.classes_.tolist() == [1, 2, 3, 4]
    assert own.class_names_.tolist() == ["blue sea", "green dog", "grey fog", "red cat"]
    assert set(own.predict(pictures).tolist()) <= {1, 2, 3, 4}


def test_names_stand_in_the_order_of_labels(backbone):
    arrays, _ = pictures_and_labels(1)
    own = make(backbone, classes={"10": "zebra", "9": "ant"}).fit(arrays, ["10", "9", "9", "10"])
    assert own.classes_.tolist() == ["10", "9"]
    assert own.class_names_.tolist() == ["zebra", "ant"]


def test_a_folder_is_learned_with_scores_on_its_test_pictures(backbone, tmp_path):
    folder = picture_folder(tmp_path)
    own = make(backbone, shots=2).fit(folder)
    assert own.score(folder) == pytest.approx(own.score_)
    assert 0 <= own.zero_shot_score_ <= 1
    assert fitted_without_pictures(backbone).zero_shot_score_ is None


def fitted_without_pictures(backbone):
    return make(backbone, train=TRAIN | {"epochs": 1}).fit(*pictures_and_labels(1))


def test_saved_and_loaded_it_says_the_same(backbone, fitted, tmp_path):
    arrays, labels = pictures_and_labels(3)
    numbers = [sorted(set(labels)).index(label) for label in labels]
    for own in (fitted, make(backbone).fit(arrays, numbers)):
        own.save(tmp_path / "run")
        again = PromptClassifier.load(tmp_path / "run", backbone)
        assert (again.predict(arrays) == own.predict(arrays)).all()
        assert again.classes_.tolist() == own.classes_.tolist()
        assert np.array_equal(again.predict_proba(arrays), own.predict_proba(arrays))


def test_other_classes(fitted):
    arrays, _ = pictures_and_labels(1)
    other = fitted.for_classes(["yellow bus", "red cat"])
    assert other.classes_.tolist() == ["red cat", "yellow bus"]
    assert other.predict_proba(arrays).shape == (4, 2)
    assert fitted.classes_.tolist() != other.classes_.tolist()
    assert other.set_classes(["a", "b", "c"]).predict(arrays).tolist()[0] in ("a", "b", "c")


def test_parameters_in_the_manner_of_scikit_learn(backbone):
    own = make(backbone, shots=3)
    assert own.get_params()["shots"] == 3
    assert type(own)(**own.get_params()).get_params() == own.get_params()
    assert own.set_params(shots=5) is own and own.shots == 5
    with pytest.raises(OptionError, match="shots"):
        own.set_params(shot=5)


def test_it_is_an_estimator_where_scikit_learn_is_there():
    base = pytest.importorskip("sklearn.base")
    own = PromptClassifier(shots=3, train=TRAIN)
    assert isinstance(own, base.BaseEstimator) and base.is_classifier(own)
    assert base.clone(own).get_params() == own.get_params()
    repr(own)


def test_it_is_cross_validated_by_scikit_learn(backbone):
    selection = pytest.importorskip("sklearn.model_selection")
    arrays, labels = pictures_and_labels(2)
    found = selection.cross_val_score(make(backbone, train=TRAIN | {"epochs": 1}), arrays, labels, cv=2)
    assert found.shape == (2,) and (found >= 0).all()


def test_it_works_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = None; sys.modules['sklearn.base'] = None\n"
        "from vlprompt.estimator import PromptClassifier as P\n"
        "assert P(shots=2).get_params()['shots'] == 2 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pictures_that_cannot_be_read_are_told(backbone, tmp_path):
    pictures, labels = pictures_and_labels(3)
    nowhere = str(tmp_path / "nowhere.png")
    with pytest.warns(UserWarning, match=r"1 pictures could not be read .*nowhere\.png.*blue sea \(1 of 3\)"):
        make(backbone, method="linear_probe").fit([nowhere, *pictures[1:]], labels)
    with pytest.raises(ValueError, match=r"no training picture can be read of blue sea \(3 of 3\)"):
        make(backbone, method="linear_probe").fit([nowhere] * 3 + pictures[3:], labels)


def test_misuse_is_a_clear_error(backbone, fitted):
    with pytest.raises(RunError, match="call fit first"):
        make(backbone).predict([np.zeros((8, 8, 3), np.uint8)])
    arrays, labels = pictures_and_labels(1)
    with pytest.raises(DataError, match="labels"):
        make(backbone).fit(arrays, labels[:-1])
    with pytest.raises(DataError, match="one class"):
        make(backbone).fit(arrays, ["a"] * len(arrays))
    with pytest.raises(DataError):
        fitted.predict([b"no picture"])
