"""Which pictures say how good a run is: those that are given for it, a part that is held out, or all, in turn.

A data set that comes divided stays so. Of a plain folder every picture is learned from; its accuracy is measured by
stratified cross-validation: the pictures are dealt into parts, and each part is judged by a method that learned from
the others. With `test` (and `val`) a part of every class is held out instead, and not learned from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.splitting import hold_out
from vlprompt.errors import OptionError
from vlprompt.options import OptionSet, option
from vlprompt.scoring.evaluation import logits_of
from vlprompt.seeds import generator

if TYPE_CHECKING:
    from vlprompt.data.sampling import Split
    from vlprompt.feeding.inputs import Inputs
    from vlprompt.methods.base import Method

In = TypeVar("In", bound="Inputs")
CROSSED = "cross-validation"  # the name of such scores among "test" and "val"
_DRAWN_BY_FIT = "held out by fit"


@dataclass(frozen=True)
class Measure(OptionSet):
    """How a run is measured, beside what it learns."""

    test: float = option(
        0.0,
        "share of every class of a plain folder that is held out to test with; 0: cross-validation, and every picture "
        "is learned from",
        low=0,
        high=0.9,
    )
    val: float = option(
        0.0, "share that is held out for validation (calibration, rejection, best epochs)", low=0, high=0.9
    )
    folds: int = option(
        5, "parts of the cross-validation where there are no test pictures; 0: none", low=0, high=20
    )
    calibrate: bool | None = option(
        None,
        "divide logits by the temperature that suits the validation pictures best; it changes probabilities and no "
        "answer, and may be given for a finished run too",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folds == 1:
            raise OptionError("folds is 1: expected 2 or more, or 0 for no cross-validation")
        if self.test + self.val >= 1:
            raise OptionError(f"test {self.test} and val {self.val} leave no picture to learn from")


GIVEN_ONLY = Measure(folds=0)  # on the test or validation pictures of the data set, if there are any


def can_be_crossed(split: Split, measure: Measure) -> bool:
    """Whether a run is measured by cross-validation: there are no other pictures, and some class has two."""
    return (
        not split.test and not split.val and bool(stratified([i.label for i in split.train], measure.folds))
    )


def divided(dataset: Dataset, measure: Measure, seed: int = 1) -> Dataset:
    """The data set as `fit` learns from it: its own splits, or all pictures of one that has none, less what is held out.

    Splits that `open_dataset` drew without being asked to (50 % train) are taken back.
    """
    drawn = dataset.split_kind == "drawn" and not set(dataset.origin or {}) & {
        "split_seed",
        "val_fraction",
        "test_fraction",
    }
    if not drawn and set(dataset.splits) != {"train"}:
        return dataset
    items = (
        sorted(dataset.all_items, key=lambda item: (item.label, item.path))
        if drawn
        else dataset.items("train")
    )
    notices = tuple(text for text in dataset.notices if not text.startswith("no split is given"))
    rest, test = hold_out(items, measure.test, seed=seed)
    share = measure.val / (1 - measure.test)
    train, val = hold_out(rest, share, seed=seed + 1)
    splits = {name: part for name, part in (("train", train), ("val", val), ("test", test)) if part}
    origin = "given"
    if len(splits) > 1:
        origin = f"drawn, seed {seed}, val {measure.val:g}, test {measure.test:g} {_DRAWN_BY_FIT}"
    elif drawn:
        origin = "none"
    return replace(dataset, splits=splits, split_origin=origin, notices=notices)


class Fold(NamedTuple):
    """Numbers of the pictures to learn from, and of those to judge."""

    learned: Tensor
    held: Tensor


def stratified(labels: Sequence[int] | np.ndarray | Tensor, folds: int, seed: int = 1) -> list[Fold]:
    """Parts in each of which every class is represented as evenly as can be; every picture is held out at most once.

    A class with one picture is never held out: nothing would be left to learn it from. Fewer folds where no class has
    so many pictures; none where every class has one.
    """
    y = np.asarray(labels, dtype=int)
    turn = np.full(len(y), -1)
    rng = generator(seed, "parts of the cross-validation")
    most = int(np.bincount(y).max()) if len(y) else 0
    count = min(folds, most)
    if count < 2:
        return []
    start = 0
    for label in np.unique(y):
        own = np.flatnonzero(y == label)
        if len(own) < 2:
            continue
        own = own[torch.randperm(len(own), generator=rng).numpy()]
        turn[own] = (start + np.arange(len(own))) % count
        start += len(own)
    return [
        Fold(torch.from_numpy(np.flatnonzero(turn != k)), torch.from_numpy(np.flatnonzero(turn == k)))
        for k in range(count)
        if (turn == k).any()
    ]


def crossed_logits(
    learned: Callable[[In], Method], training: In, shown: Inputs, folds: Sequence[Fold], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """(logits [M, C], numbers [M]): of every picture that some fold holds out, by a method that has not seen it.

    learned: makes a method from training inputs. training, shown: the same pictures in the same order, as they are
    learned from (with their views) and as they are judged.
    """
    logits, numbers = [np.zeros((0, classes), np.float32)], [np.zeros(0, int)]
    for fold in folds:
        method = learned(training.part(fold.learned))
        logits.append(logits_of(method.eval(), shown.part(fold.held)))
        numbers.append(fold.held.numpy())
    order = np.argsort(np.concatenate(numbers), kind="stable")
    return np.concatenate(logits)[order], np.concatenate(numbers)[order]


def per_class(items: Sequence[Item]) -> tuple[int, int]:
    """(fewest, most) pictures of the classes that have any."""
    counts = np.bincount([item.label for item in items]) if items else np.zeros(0, int)
    counts = counts[counts > 0]
    return (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
