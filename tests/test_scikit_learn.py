"""PromptClassifier as an estimator: scikit-learn's own checks, and the places where estimators are used."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_data import pictures_and_labels
from support import tiny_backbone

from vlprompt.errors import DataError, RunError
from vlprompt.estimator import PromptClassifier

pytest.importorskip("sklearn", minversion="1.6")
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

TRAIN = {"epochs": 1, "batch": 4, "views": 1, "warmup_epochs": 0}
SMALL = {"text_layers": 2, "vision_layers": 2}


@pytest.fixture(scope="module")
def backbone() -> Any:
    return tiny_backbone(0, **SMALL)


def make(backbone: Any, **more: Any) -> PromptClassifier:
    return PromptClassifier(
        **({"method": "lamm", "backbone": backbone, "train": TRAIN, "cache": False} | more)
    )


class RowsAsPictures(PromptClassifier):
    """scikit-learn's checks hand in rows of numbers: each becomes a picture with a grey band for each number."""

    def fit(self, X: Any, y: Any = None) -> PromptClassifier:
        return super().fit(pictures_of(X), y)

    def predict_proba(self, X: Any) -> np.ndarray:
        return super().predict_proba(pictures_of(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def pictures_of(X: Any) -> Any:
    rows = np.asarray(X)
    if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "biuf":
        return X
    bright = np.clip(0.5 + rows.astype(np.float64) / 8, 0, 1)
    bright[~np.isfinite(rows)] = np.nan  # refused as in any picture, not clipped away here
    bands = bright[:, np.arange(32) * rows.shape[1] // 32]
    return list(np.broadcast_to(bands[:, None, :, None], (len(rows), 32, 32, 3)))


# what cannot apply, and why; docs/scikit-learn.md shows the same
EXPECTED = {
    "check_n_features_in": "pictures are no matrix: there is no number of features to remember",
    "check_n_features_in_after_fitting": "pictures are no matrix: there is no number of features to remember",
    "check_classifiers_train": "pictures of another size than those of fit are welcome; the check wants rows of another "
    "length refused (all that it asks before that, accuracy above 0.83 too, holds)",
    "check_dtype_object": "an array of objects is a list of pictures of any kind, and is not turned into numbers",
    "check_estimators_empty_data_messages": "the error speaks of a picture without pixels, not of features",
    "check_fit2d_predict1d": "the error speaks of what a picture's shape has to be, not of reshaping",
}


def test_scikit_learns_own_checks(backbone: Any) -> None:
    own = RowsAsPictures("linear_probe", backbone, shots=0, options={"strength": 100.0}, cache=False)
    found = check_estimator(own, expected_failed_checks=EXPECTED, on_fail=None, on_skip=None)
    wrong = {r["check_name"]: repr(r["exception"])[:300] for r in found if r["status"] == "failed"}
    assert not wrong
    assert {r["check_name"] for r in found if r["status"] == "xfail"} == set(
        EXPECTED
    )  # none is listed in vain
    assert sum(r["status"] == "passed" for r in found) > 30


def test_the_documentation_lists_what_cannot_apply() -> None:
    page = (Path(__file__).parents[1] / "docs" / "scikit-learn.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"\| `(check_\w+)` \| (.*) \|", page)) == EXPECTED


def test_cross_validation_and_search(backbone: Any) -> None:
    pictures, labels = pictures_and_labels(2)
    stacked = np.stack(pictures)
    scores = cross_val_score(make(backbone), stacked, labels, cv=2, error_score="raise")
    assert scores.shape == (2,) and ((scores >= 0) & (scores <= 1)).all()
    search = GridSearchCV(
        make(backbone, method="zeroshot"), {"method": ["zeroshot", "linear_probe"]}, cv=2, error_score="raise"
    ).fit(stacked, labels)
    assert search.best_params_["method"] in ("zeroshot", "linear_probe")
    assert search.predict(stacked).shape == (len(labels),)
    with pytest.raises(ValueError, match="shot"):
        GridSearchCV(make(backbone), {"shot": [1]}, cv=2, error_score="raise").fit(stacked, labels)


def test_in_a_pipeline(backbone: Any) -> None:
    pictures, labels = pictures_and_labels(2)
    line = make_pipeline(FunctionTransformer(np.asarray), make(backbone, method="zeroshot"))
    line.fit(pictures, labels)
    assert line.predict_proba(pictures).shape == (len(pictures), 4)
    assert (line.classes_ == sorted(set(labels))).all()
    line.set_params(promptclassifier__shots=2)
    assert line.named_steps["promptclassifier"].shots == 2


def test_clones_share_the_backbone_and_nothing_else(backbone: Any) -> None:
    own = make(backbone)
    again = clone(own)
    assert (
        again is not own
        and again.backbone is backbone
        and again.train == TRAIN
        and again.train is not own.train
    )
    own.fit(*pictures_and_labels(1))
    assert not hasattr(clone(own), "run_")


@pytest.mark.parametrize("method", ["lamm", "cocoop", "proda", "tip_adapter"])
def test_a_pickle_says_the_same(backbone: Any, method: str) -> None:
    pictures, labels = pictures_and_labels(1)
    own = make(backbone, method=method).fit(pictures, labels)
    wanted = own.predict_proba(pictures)
    again = pickle.loads(pickle.dumps(own))
    assert np.array_equal(again.predict_proba(pictures), wanted)
    assert again.classes_.tolist() == own.classes_.tolist()
    other = again.for_classes(
        ["a bus", "a tree"]
    )  # nothing that was kept for the old prompts is taken for the new
    np.testing.assert_allclose(
        other.predict_proba(pictures), own.for_classes(["a bus", "a tree"]).predict_proba(pictures), atol=1e-6
    )


def test_its_text_is_short(backbone: Any) -> None:
    text = f"Backbone('tiny', fingerprint='{backbone.fingerprint[:12]}', device='cpu')"
    assert repr(backbone) == text
    shown = repr(PromptClassifier("coop", backbone))
    assert text in shown and len(shown) < 200


def test_before_fit(backbone: Any) -> None:
    pictures, _ = pictures_and_labels(1)
    with pytest.raises(NotFittedError, match="call fit first"):
        make(backbone).predict(pictures)
    with pytest.raises(RunError):
        make(backbone).predict_proba(pictures)


def test_missing_labels_are_counted(backbone: Any) -> None:
    pictures, _ = pictures_and_labels(1)
    cases: list[tuple[Any, int]] = [
        ([np.nan, "dog", "cat", "dog"], 1),
        ([None, "dog", None, "cat"], 2),
        ([None, 1, 2, 1], 1),
        (np.array([np.nan, 1.0, 2.0, np.nan]), 2),
        (np.array([["dog"], [None], ["cat"], ["dog"]], dtype=object), 1),
    ]
    for labels, count in cases:
        with pytest.raises(ValueError, match=f"^{count} of 4 labels are missing"):
            make(backbone, method="zeroshot").fit(pictures, labels)
    pandas = pytest.importorskip("pandas")
    for kind, words in (
        ("string", ["a", None, "b", "a"]),
        ("category", ["a", None, "b", "a"]),
        ("Int64", [1, None, 2, 1]),
    ):
        with pytest.raises(ValueError, match="^1 of 4 labels are missing"):
            make(backbone, method="zeroshot").fit(pictures, pandas.Series(words, dtype=kind))


def test_labels_of_every_kind_and_none(backbone: Any) -> None:
    pictures, _ = pictures_and_labels(1)
    for labels in (
        [True, False, True, False],
        [1.0, 2.0, 1.0, 2.0],
        np.array(["a", "b", "a", "b"], dtype=object),
    ):
        own = make(backbone, method="zeroshot").fit(pictures, labels)
        assert set(own.predict(pictures).tolist()) <= set(np.asarray(labels).tolist())
    for wrong, said in (
        ([0.5, 1.0, 2.0, 3.0], "label type"),
        ([1.0, np.nan, 1.0, 2.0], "NaN"),
        ([[1, 2]] * 4, "4x2"),
        ([1j, 2, 1j, 2], "Complex"),
    ):
        with pytest.raises(DataError, match=said):
            make(backbone, method="zeroshot").fit(pictures, wrong)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        own = make(backbone, method="zeroshot").fit(pictures, [[1], [2], [1], [2]])
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert own.score(pictures, [[1], [2], [1], [2]]) == own.score(pictures, iter([1, 2, 1, 2]))
    with pytest.raises(DataError, match="4 pictures but 3 labels"):
        own.score(pictures, [1, 2, 1])
