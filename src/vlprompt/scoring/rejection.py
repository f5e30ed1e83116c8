"""When to say "unknown": a least likeness to the classes that were learned, chosen for a stated coverage.

    likeness(x) = max_c cos(f(x), mean_c)        mean_c: of the features of class c's training pictures

Coverage is the share of pictures of known classes that still get an answer. Pictures of no known class lie far from all
class means (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018, with the
identity for the covariance: of features of length 1 from few pictures it does as well). Measured beside it on pictures
of four data sets (docs/report.md): energy, the largest logit and probability, nearest neighbours, Mahalanobis.

Runs of earlier versions reject by the largest probability (Hendrycks and Gimpel, ICLR 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Protocol

import numpy as np

from vlprompt.errors import OptionError, RunError
from vlprompt.record_schema import OPTIONAL, Count, Range, Record, Share, WrongField

UNKNOWN = "unknown"
COVERAGE = 0.95  # where nothing is said
MARGIN = 1e-6  # probabilities of one picture differ so much between batches and machines


Likeness = Annotated[float, Range(-1.001, 1.001)]


@dataclass
class RejectionInfo(Record):
    """Thresholds for a coverage of 1, 2, ... 100 per cent; without and with the run's temperature."""

    thresholds: list[Share]
    calibrated_thresholds: list[Share]
    chosen_on: str = "val"
    count: Count = 0
    likeness: list[Likeness] | None = field(default=None, metadata=OPTIONAL)

    def check(self, at: str) -> None:
        for name in ("thresholds", "calibrated_thresholds", "likeness"):
            held = getattr(self, name)
            if held and len(held) != 100:
                raise WrongField(f"{at}{name}", f"holds {len(held)} values: expected 100")


class Rejecting(Protocol):
    """What rejection needs to know of a run's record."""

    @property
    def rejection(self) -> RejectionInfo | None: ...

    @property
    def calibrated(self) -> bool: ...


def class_means(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean feature of each class, unit length, [C, d] float32; zeros of a class without pictures. features: [N, d]."""
    found = np.zeros((classes, features.shape[1]), np.float64)
    np.add.at(found, labels, features.astype(np.float64))
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return (found / np.maximum(lengths, 1e-12)).astype(np.float32)


def likeness(features: np.ndarray, means: np.ndarray) -> np.ndarray:
    """[N] largest cosine with a class mean. features: [N, d]; means: [C, d], both of unit length."""
    return (features @ means.T).max(axis=1)


def threshold_at(confidence: np.ndarray, coverage: float) -> float:
    """The largest threshold that at least `coverage` of the pictures reach. confidence: [N], 0 to 1."""
    ordered = np.sort(confidence)[::-1]
    last = max(1, math.ceil(round(coverage * len(ordered), 9))) - 1
    return max(0.0, float(ordered[last]) - MARGIN)


def thresholds(confidence: np.ndarray) -> list[float]:
    """Thresholds for a coverage of 1, 2, ... 100 per cent."""
    return [round(threshold_at(confidence, percent / 100), 7) for percent in range(1, 101)]


def rejection_record(plain: np.ndarray, calibrated: np.ndarray) -> RejectionInfo | None:
    """What run.json holds about rejection: thresholds without and with temperature; None without pictures.

    plain, calibrated: [N], largest probabilities of the validation pictures.
    """
    if not len(plain):
        return None
    return RejectionInfo(thresholds(plain), thresholds(calibrated), count=len(plain))


def threshold_of(info: Rejecting, coverage: bool | float = True, *, by_likeness: bool = False) -> float:
    """The threshold of a run (of the largest probability, or of likeness) for a coverage (True: 0.95; between per cents: the next larger one).

    OptionError for a coverage that is none; RunError where fit had no validation pictures.
    """
    wanted = COVERAGE if coverage is True else float(coverage)
    if not 0 < wanted <= 1:
        raise OptionError(f"coverage is {wanted:g}: expected more than 0 and at most 1, such as 0.95")
    held = info.rejection
    if held is None:
        raise RunError(
            "this run has no thresholds for rejection, because fit had no validation pictures to choose them on, nor two of "
            "a class for cross-validation: fit again with more pictures of each class"
        )
    values = held.calibrated_thresholds if info.calibrated else held.thresholds
    if by_likeness and held.likeness is not None:
        values = held.likeness
    if not values:
        raise RunError(
            "this run rejects by likeness to its classes, and these are others: fit with pictures of them"
        )
    return float(values[math.ceil(round(100 * wanted, 6)) - 1])


def coverage_curve(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(coverage, accuracy), both 0 to 1, [N]: when the k surest pictures get an answer, for k = 1..N.

    Pictures of equal confidence count together: each place has the values of the last of them.
    """
    order = np.argsort(-confidence, kind="stable")
    count = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(correct[order]) / count
    last = np.searchsorted(-confidence[order], -confidence[order], side="right") - 1
    return (count / max(1, len(order)))[last], accuracy[last]
