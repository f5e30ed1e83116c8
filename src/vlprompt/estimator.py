"""PromptClassifier: prompt learning in the manner of scikit-learn.

classifier = PromptClassifier().fit(paths, labels)
classifier.predict(["a.jpg"]), classifier.predict_proba(...), classifier.score(paths, labels)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlprompt.errors import DataError, OptionError, RunError, nearest

if TYPE_CHECKING:
    from vlprompt.backbones.backbone import Backbone
    from vlprompt.data.dataset import Dataset
    from vlprompt.methods.base import Method
    from vlprompt.runs.run import Run

try:  # scikit-learn is optional: with it, this is one of its estimators
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import NotFittedError

    _BASES: tuple[type, ...] = (ClassifierMixin, BaseEstimator)
    _UNFITTED: tuple[type, ...] = (NotFittedError,)
except Exception:  # a broken installation must not break this one
    _BASES = _UNFITTED = ()


class NotFitted(RunError, *_UNFITTED):  # type: ignore[misc]
    """A classifier that is used before it has learned anything; scikit-learn's NotFittedError where that is there."""


class _Parameters:
    """get_params and set_params as scikit-learn defines them."""

    _NAMES = (
        "method",
        "backbone",
        "shots",
        "seed",
        "options",
        "train",
        "templates",
        "classes",
        "device",
        "precision",
        "cache",
        "verbose",
        "calibrate",
        "validation_fraction",
    )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor by name, as scikit-learn wants them."""
        return {name: getattr(self, name) for name in self._NAMES}

    def set_params(self, **values: Any) -> Any:
        """Changes arguments of the constructor; what was learned stays until the next fit."""
        for name, value in values.items():
            if name not in self._NAMES:
                raise OptionError(f'no parameter "{name}": {nearest(name, self._NAMES)}')
            setattr(self, name, value)
        return self


class PromptClassifier(_Parameters, *_BASES):  # type: ignore[misc]
    """Learns classes from a few pictures of each by learning prompts for a CLIP-like backbone.

    method: "auto" compares some and takes the best; else see `vlprompt methods`; or a class of your own. backbone: what `load_backbone` loads (then device and precision
    belong to it), a BackboneSpec, or a Backbone.
    shots: training pictures per class, 0 for all that are given. options, train: of the method and of the loop, by name.
    classes: names for the labels (a list in label order, or a dict), when the labels themselves say little.
    cache: keep features on disk. verbose: progress on stderr. calibrate: divide logits by the temperature that suits
    validation pictures best, so that probabilities mean what they say. validation_fraction: part of every class of
    labelled pictures that is kept from training for this and for `predict(reject=...)`; None: nothing is, and where they are
    needed (calibrate, auto, a folder without test pictures) cross-validation gives the figures.

    After fit: classes_ (labels, sorted), class_names_ (what the prompts say for each), run_,
    zero_shot_score_ and score_ (accuracy from 0 to 1 on held-out pictures, when there are any; else None).
    """

    def __init__(
        self,
        method: str | type[Method] = "auto",
        backbone: Any = "embedded",
        shots: int = 0,
        seed: int = 1,
        options: dict[str, Any] | None = None,
        train: dict[str, Any] | None = None,
        templates: Any = None,
        classes: Any = None,
        device: str = "auto",
        precision: str = "float32",
        cache: bool = True,
        verbose: bool = False,
        calibrate: bool = False,
        validation_fraction: float | None = None,
    ) -> None:
        self.method = method
        self.backbone = backbone
        self.shots = shots
        self.seed = seed
        self.options = options
        self.train = train
        self.templates = templates
        self.classes = classes
        self.device = device
        self.precision = precision
        self.cache = cache
        self.verbose = verbose
        self.calibrate = calibrate
        self.validation_fraction = validation_fraction

    # -- learning --------------------------------------------------------------------------------

    def fit(self, X: Any, y: Sequence[Any] | np.ndarray | None = None) -> PromptClassifier:
        """X: pictures (paths, bytes, PIL images, arrays [H, W, 3]) with labels y, or without y a folder,
        list or archive that `open_dataset` opens, or a Dataset.

        Pictures that cannot be read are skipped with a UserWarning. Raises DataError (a ValueError) for a class none of
        whose training pictures can be read, and for labels that are missing or cannot be labels.
        """
        from vlprompt.data.memory import from_pictures
        from vlprompt.data.opening import open_dataset
        from vlprompt.fitting.learning import fit
        from vlprompt.fitting.measuring import Measure

        refuse_sparse(X)
        if y is None:
            if not isinstance(X, (str, os.PathLike)) and not hasattr(X, "splits"):
                raise DataError(
                    "fit requires y to be passed, but the target y is None: give one label for each picture"
                )
            data: Any = X
            labels = None
        else:
            labels = _as_labels(y)
            data = self._with_validation(from_pictures(X, list(labels), classes=self.classes))
        if not hasattr(data, "splits"):
            data = open_dataset(data, classes=self.classes, val_fraction=0.0, test_fraction=0.0)
        run = fit(
            data,
            self._plan(),
            self._backbone(),
            shots=self.shots,
            seed=self.seed,
            cache=self.cache,
            progress=self.verbose,
            measure=Measure(folds=5 if self._measures(y) else 0, calibrate=self.calibrate),
        )
        if run.info.data.skipped:
            warnings.warn(run.info.notices[-1], stacklevel=2)  # nothing else shows a run's notices here
        return self._take(run, labels, getattr(data, "class_keys", None))

    def _measures(self, y: Any) -> bool:
        """Whether pictures without others to test on are judged in turn; searches fit often, and ask for it themselves."""
        return y is None or bool(self.calibrate) or self.method == "auto"

    def _plan(self) -> Any:
        """What to learn, with the settings that were measured for the backbone's size before the published ones."""
        from vlprompt.fitting.plan import make_plan
        from vlprompt.fitting.recipes import measured_for
        from vlprompt.methods import name_of

        source = (
            getattr(self.backbone, "source", None)
            or getattr(self.backbone, "name", None)
            or str(self.backbone)
        )
        recipe = measured_for(name_of(self.method), source)
        return make_plan(self.method, self.options, self.train, recipe, self.templates)

    def _backbone(self) -> Any:
        """The backbone; device and precision are said by a BackboneSpec or a Backbone itself, or beside a source."""
        from vlprompt.backbones.spec import BackboneSpec

        if not isinstance(self.backbone, (str, os.PathLike)):
            return self.backbone
        return BackboneSpec(os.fspath(self.backbone), self.device, self.precision)

    def _with_validation(self, data: Dataset) -> Dataset:
        from dataclasses import replace

        from vlprompt.data.splitting import hold_out

        fraction = self.validation_fraction
        if fraction is None:
            fraction = 0.0
        kept, held = hold_out(data.items("train"), fraction, seed=self.seed)
        return replace(data, splits={"train": kept, "val": held}) if held else data

    def _take(self, run: Run, labels: np.ndarray | None, keys: Sequence[str] | None) -> PromptClassifier:
        self.run_ = run
        if labels is None:
            own: list[Any] = list(run.class_names)
        else:  # labels come back in the type in which they were given
            by_text = {str(label): label for label in labels.tolist()}
            whole = labels.dtype.kind in "iu"  # also for named classes that have no picture
            own = [by_text.get(key, int(key) if whole else key) for key in keys or ()]
        self._set_labels(own)
        return self

    def _set_labels(self, labels: Sequence[Any]) -> None:
        """Labels in the order of the method's classes, and sorted for the columns of predict_proba."""
        values = np.asarray(labels)
        if values.dtype.kind not in "iub" and len(set(map(type, labels))) > 1:
            values = np.asarray(list(map(str, labels)))
        self._columns = np.argsort(values, kind="stable")
        self.classes_ = values[self._columns]
        self.class_names_ = np.asarray(self._run().class_names, dtype=object)[self._columns]

    @property
    def zero_shot_score_(self) -> float | None:
        """Accuracy of the names alone on the held-out pictures, 0 to 1."""
        return self._held_out("zero_shot")

    @property
    def score_(self) -> float | None:
        """Accuracy of what was learned on the same pictures, 0 to 1."""
        return self._held_out(self._run().info.reported or "test")

    def _held_out(self, key: str) -> float | None:
        found = self._run().info.scores.get(key)
        return found.accuracy / 100 if found else None

    def _run(self) -> Run:
        if not hasattr(self, "run_"):
            raise NotFitted("this PromptClassifier has learned nothing yet: call fit first")
        return self.run_

    # -- using it --------------------------------------------------------------------------------

    def predict_proba(self, X: Any) -> np.ndarray:
        """[N, C] probabilities; columns in the order of classes_."""
        refuse_sparse(X)
        return self._run().probabilities(X)[:, self._columns]

    def predict(self, X: Any, *, reject: bool | float = False) -> np.ndarray:
        """[N] labels, of the kind that was given to fit.

        reject: answer only pictures that are like the classes, by a threshold that was chosen on pictures of known
        classes, so that this share of them (True: 0.95) got an answer. Other pictures get "unknown", or -1 where
        labels are numbers. RunError where fit had nothing to choose it on.
        """
        probabilities = self.predict_proba(X)
        found = self.classes_[probabilities.argmax(axis=1)]
        if reject is False:
            return found
        from vlprompt.scoring.rejection import UNKNOWN

        unsure = self._run().unknown(X, reject)
        number = self.classes_.dtype.kind in "iuf"
        if number and -1 in self.classes_:
            raise OptionError(
                "one of the labels is -1, which stands for unknown: use predict_proba, or other labels"
            )
        if self.classes_.dtype.kind == "b":
            found = found.astype(object)
        return np.where(unsure, -1 if number else UNKNOWN, found)

    def image_features(self, X: Any) -> np.ndarray:
        """[N, d] unit-length features of pictures, with the visual prompts that were learned."""
        return self._run().image_features(X)

    def text_features(self, X: Any = None) -> np.ndarray:
        """[C, d] features of the classes, in the order of classes_; [N, C, d] where they depend on the pictures X."""
        return self._run().text_features(X)[..., self._columns, :]

    def score(self, X: Any, y: Sequence[Any] | np.ndarray | None = None, sample_weight: Any = None) -> float:
        """Accuracy from 0 to 1. Without y: X is a folder, list or archive, of which the test pictures are taken, or all
        where it has no splits, as `vlprompt eval` does. DataError for labels that are not one for each picture."""
        if y is None:
            from vlprompt.data.dataset import Dataset
            from vlprompt.data.opening import open_dataset

            dataset = (
                X
                if isinstance(X, Dataset)
                else open_dataset(
                    X, classes=self.classes, val_fraction=0.0, test_fraction=0.0, least_classes=1
                )
            )
            split = next(name for name in ("test", "val", "train") if name in dataset.splits)
            return self._run().evaluate(dataset, split).accuracy / 100
        found, labels = self.predict(X), _as_labels(y)
        if len(found) != len(labels):
            raise DataError(
                f"{len(found)} pictures but {len(labels)} labels; give one label for each picture"
            )
        return float(np.average(found == labels, weights=sample_weight))

    def for_classes(self, names: Sequence[str]) -> PromptClassifier:
        """A classifier with the same learned prompts for other class names; these become the labels."""
        other = type(self)(**self.get_params())
        other.run_ = self._run().for_classes(names)
        other._set_labels(list(names))
        return other

    def set_classes(self, names: Sequence[str]) -> PromptClassifier:
        """Other class names for this classifier, in place."""
        self.__dict__.update(self.for_classes(names).__dict__)
        return self

    # -- keeping it ------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes a run folder (without the backbone)."""
        run = self._run()
        run.info.labels = [
            label.item() if isinstance(label, np.generic) else label for label in self._ordered()
        ]
        return run.save(Path(folder))

    def _ordered(self) -> list[Any]:
        back = np.argsort(self._columns, kind="stable")
        return list(self.classes_[back])

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        backbone: Backbone | str | None = None,
        *,
        device: str = "auto",
        precision: str | None = None,
    ) -> PromptClassifier:
        """A saved classifier, or any run folder."""
        from vlprompt.runs.run import Run

        run = Run.load(Path(folder), backbone, device=device, precision=precision)
        info = run.info
        own = cls(
            method=info.method,
            backbone=backbone or info.backbone.source,
            shots=info.shots,
            seed=1 if info.seed is None else info.seed,
            options=info.options,
            train=info.train,
            templates=info.templates,
            device=device,
            precision=precision or info.backbone.precision,
        )
        own.run_ = run
        own._set_labels(info.labels or list(run.class_names))
        return own

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "run_")

    def __sklearn_tags__(self) -> Any:
        """For scikit-learn: what is learned from are pictures, not rows of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def refuse_sparse(X: Any) -> None:
    """DataError for a sparse matrix, which is no list of pictures."""
    if hasattr(X, "tocsr"):
        raise DataError("Sparse data is not supported: X is a list of pictures, or an array [N, H, W, 3]")


def _as_labels(y: Any) -> np.ndarray:
    """[N] labels; DataError for what cannot be labels. A column [N, 1] is taken with a warning."""
    y = list(y) if isinstance(y, Iterator) else y
    labels = np.asarray(y)
    # not of `labels`, where NaN beside words has become the word "nan"
    missing = 0 if labels.dtype.kind in "iub" else sum(map(_is_missing, np.asarray(y, dtype=object).flat))
    if missing:
        raise DataError(
            f"{missing} of {labels.size} labels are missing (None or NaN): give these pictures labels, or leave "
            "them out"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        kind: type[Warning] = UserWarning
        if _BASES:
            from sklearn.exceptions import DataConversionWarning

            kind = DataConversionWarning
        text = (
            "A column-vector y was passed when a 1d array was expected: labels are one value for each picture"
        )
        warnings.warn(text, kind, stacklevel=3)
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"labels are an array of {'x'.join(map(str, labels.shape))}: give one label for each picture"
        )
    if labels.dtype.kind == "c":
        raise DataError("Complex data not supported: labels are words, whole numbers or booleans")
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.floor(labels)).all()):
        raise DataError(
            "Unknown label type: continuous. Labels are words, whole numbers or booleans, without NaN or infinity"
        )
    return labels


def _is_missing(label: Any) -> bool:
    """None, NaN, NaT, or pandas' NA."""
    if label is None:
        return True
    try:
        return bool(label != label)
    except (TypeError, ValueError):  # NA is neither equal to itself nor not; so are arrays
        return type(label).__name__ == "NAType"
