"""Few-shot sampling and the split into base and new classes, exactly as the published code draws them.

Source: CoOp's `generate_fewshot_dataset` and `subsample_classes` (Zhou et al., IJCV and CVPR 2022), which all
later work uses; numbers come from Python's `random.Random(seed)`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vlprompt.data.dataset import Dataset, Item
from vlprompt.errors import DataError, OptionError

Which = Literal["all", "base", "new"]
MOST_VALIDATION_SHOTS = 4


def few_shot(items: Sequence[Item], shots: int, rng: random.Random, repeat: bool = False) -> list[Item]:
    """`shots` items of every label, labels in order of first appearance; all items when shots < 1.

    A label with fewer items gives all of them, in order (without using the generator), or with `repeat` is
    drawn from with replacement.
    """
    if shots < 1:
        return list(items)
    chosen: list[Item] = []
    for group in _by_label(items).values():
        if len(group) >= shots:
            chosen += rng.sample(group, shots)
        elif repeat:
            chosen += rng.choices(group, k=shots)
        else:
            chosen += group
    return chosen


def sample(
    train: Sequence[Item], val: Sequence[Item], shots: int, seed: int, repeat: bool = False
) -> tuple[list[Item], list[Item]]:
    """Few-shot training and validation items from one seed: `shots` and min(shots, 4) per label."""
    rng = random.Random(seed)
    chosen = few_shot(train, shots, rng, repeat)
    return chosen, few_shot(val, min(shots, MOST_VALIDATION_SHOTS), rng, repeat)


def kept_labels(train: Sequence[Item], which: Which) -> list[int]:
    """Labels of base classes (the first ceil(n / 2) of the sorted labels in `train`), of new ones, or all."""
    labels = sorted({item.label for item in train})
    half = (len(labels) + 1) // 2
    if which == "all":
        return labels
    if which == "base":
        return labels[:half]
    if which == "new":
        return labels[half:]
    raise OptionError(f'which classes? "{which}" is none of all, base, new')


def base_new(which: Which, train: Sequence[Item], *others: Sequence[Item]) -> list[list[Item]]:
    """The items of base or new classes in `train` and the other lists, labels renumbered from 0; "all" is
    left alone.

    Classes are counted in `train`; items whose label is not kept are dropped; the order stays.
    """
    labels = kept_labels(train, which)
    if which == "all":
        return [list(items) for items in (train, *others)]
    number = {label: new for new, label in enumerate(labels)}
    return [
        [replace(item, label=number[item.label]) for item in items if item.label in number]
        for items in (train, *others)
    ]


@dataclass(frozen=True)
class Split:
    """What one run trains on and is tested on.

    class_names: by label. train and val: few shots; test: everything. shots: as asked for, 0 for all
    pictures.
    """

    class_names: tuple[str, ...]
    train: list[Item]
    val: list[Item]
    test: list[Item]
    shots: int
    seed: int
    which: Which = "all"
    notices: tuple[str, ...] = ()


def draw(dataset: Dataset, *, shots: int = 16, seed: int = 1, which: Which = "all") -> Split:
    """The few-shot split of a data set: sampled first, then restricted to base or new classes, as published.

    DataError when there is nothing to train on; classes with fewer pictures than shots are named in the
    notices.
    """
    if shots < 0:
        raise OptionError(f"shots {shots}: give the number of training pictures per class, 0 for all of them")
    train, val = sample(dataset.items("train"), dataset.splits.get("val", []), shots, seed)
    labels = kept_labels(train, which)
    train, val, test = base_new(which, train, val, dataset.splits.get("test", []))
    if not train:
        raise DataError(
            f"{dataset.name}: no training pictures of {which} classes; at least two classes are needed"
        )
    names = dataset.class_names if which == "all" else tuple(dataset.class_names[label] for label in labels)
    notices = []
    found = {label: len(group) for label, group in _by_label(train).items()}
    if short := [f"{names[label]} ({count})" for label, count in sorted(found.items()) if count < shots]:
        listed = ", ".join(short[:5]) + (", ..." if len(short) > 5 else "")
        notices.append(
            f"{len(short)} classes have fewer than {shots} training pictures, all are used: {listed}"
        )
    return Split(names, train, val, test, shots, seed, which, tuple(notices))


def _by_label(items: Sequence[Item]) -> dict[int, list[Item]]:
    groups: dict[int, list[Item]] = {}
    for item in items:
        groups.setdefault(item.label, []).append(item)
    return groups
