"""How a blend speaks of classes that it has not learned.

The parts that speak of them have equal shares. How much a new class has to be held back, or put forward, beside learned
ones (the bias between seen and unseen classes: Chao et al., "An Empirical Study and Analysis of Generalized Zero-Shot
Learning", ECCV 2016, calibrate it by hand) depends on the pictures of a class above all: the more there are, the surer learned
classes are of pictures that are not theirs. What is usual is where it begins. The classes are dealt into groups besides; for each
group the parts learn the other classes, from all but a fold of their pictures, and the group's classes then are new ones, known by
their names alone. What these show counts as much as there are pictures that show it. No picture beyond the training pictures
is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from vlprompt.data.task import Task
from vlprompt.feeding.inputs import FeatureInputs
from vlprompt.fitting.measuring import stratified
from vlprompt.methods.base import Method
from vlprompt.scoring.evaluation import logits_of
from vlprompt.seeds import generator
from vlprompt.temperature import log_probabilities

GROUPS = 3
FEWEST = 3  # classes: one that is new at a time, and two that are not
OFFSETS = np.arange(-20.0, 20.01, 0.25)
# Chosen on the demo, as docs/new-names.md tells:
AT_ONE, EACH_DOUBLING = (
    0.5,
    0.25,
)  # the usual offset with one picture of each class, and what each doubling adds
AS_GOOD_AS = 100  # training pictures that show as much as the usual offset says

Learn = Callable[[str, Task, FeatureInputs], Method]


@dataclass(frozen=True)
class NewNames:
    """weights: of the parts, by name, that speak of new names; offset: of their logits beside learned classes."""

    weights: dict[str, float]
    offset: float


@dataclass
class _Seen:
    """What one group shows. learned: the blend's logits; known, new: by part, those for the learned names and the group's; of
    the same pictures, M.

    truth: numbers of the true classes among the learned ones, then the new ones; is_new: [M].
    """

    learned: np.ndarray
    known: dict[str, np.ndarray]
    new: dict[str, np.ndarray]
    truth: np.ndarray
    is_new: np.ndarray

    @property
    def truth_of_new(self) -> np.ndarray:
        """Of the pictures of new classes, counted among the new ones."""
        return self.truth[self.is_new] - self.learned.shape[1]


def for_new_names(
    training: FeatureInputs,
    task: Task,
    weights: dict[str, float],
    voices: Sequence[str],
    learn: Learn,
    seed: int,
) -> NewNames:
    """Weights for new names and their offset.

    weights: of the parts for learned classes. voices: parts that speak of new names. learn: makes a part that has learned.
    """
    chosen = dict.fromkeys(voices, 1 / len(voices))
    pictures = len(training)
    offset = AT_ONE + EACH_DOUBLING * float(np.log2(max(1.0, pictures / len(task.class_names))))
    groups = _groups(task, seed)
    folds = stratified(training.labels.numpy(), len(groups), seed)
    if groups and len(folds) == len(groups):
        shown = [
            _shown(training, task, group, fold.held.numpy(), weights, voices, learn)
            for group, fold in zip(groups, folds, strict=True)
        ]
        share = pictures / (pictures + AS_GOOD_AS)
        offset = share * _offset(shown, chosen) + (1 - share) * offset
    return NewNames(chosen, round(offset, 4))


def _groups(task: Task, seed: int) -> list[np.ndarray]:
    """Numbers of the classes that are left out together; none where there are too few."""
    classes = len(task.class_names)
    order = torch.randperm(classes, generator=generator(seed, "classes left out")).numpy()
    count = min(GROUPS, classes)
    return [np.sort(order[i::count]) for i in range(count)] if classes >= FEWEST else []


def _divided(
    training: FeatureInputs, task: Task, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Which pictures are of the group's classes, [N]; numbers of the other classes; names of these, and of the group's."""
    rest = np.setdiff1d(np.arange(len(task.class_names)), group)
    known, names = ([task.class_names[c] for c in classes] for classes in (rest, group))
    return np.isin(training.labels.numpy(), group), rest, known, names


def _shown(
    training: FeatureInputs,
    task: Task,
    group: np.ndarray,
    held: np.ndarray,
    weights: dict[str, float],
    voices: Sequence[str],
    learn: Learn,
) -> _Seen:
    """One group left out."""
    labels = training.labels.numpy()
    is_new, rest, known, names = _divided(training, task, group)
    kept_back = np.zeros(len(labels), bool)
    kept_back[held] = True
    learned_from = _with_labels(training, np.flatnonzero(~is_new & ~kept_back), rest)
    asked = np.flatnonzero(is_new | kept_back)
    pictures = training.part(torch.from_numpy(asked))
    total, of_known, of_new = np.zeros((len(asked), len(rest))), {}, {}
    for name in dict.fromkeys((*weights, *voices)):
        method = learn(name, replace(task, class_names=tuple(known)), learned_from)
        if weights.get(name):
            total += weights[name] * logits_of(method, pictures)
        if name in voices:
            of_known[name] = logits_of(method, pictures).astype(np.float64)
            of_new[name] = logits_of(method.for_classes(names), pictures).astype(np.float64)
    place = np.empty(len(task.class_names), int)
    place[rest], place[group] = np.arange(len(rest)), len(rest) + np.arange(len(group))
    return _Seen(total, of_known, of_new, place[labels[asked]], is_new[asked])


def _with_labels(training: FeatureInputs, numbers: np.ndarray, classes: np.ndarray) -> FeatureInputs:
    """These pictures, with their classes counted among `classes`."""
    part = training.part(torch.from_numpy(numbers))
    return replace(part, labels=torch.from_numpy(np.searchsorted(classes, part.labels.numpy())))


def _spoken(logits: dict[str, np.ndarray], weights: dict[str, float]) -> np.ndarray:
    """The parts' logits added, [M, names]."""
    return np.asarray(sum(weight * logits[name] for name, weight in weights.items()))


def _shared(seen: _Seen, weights: dict[str, float]) -> np.ndarray:
    """Logits of learned classes beside new ones, as a gated blend has them."""
    best = _spoken(seen.known, weights).max(axis=1, keepdims=True)
    return np.asarray(log_probabilities(seen.learned) + best)


def _offset(shown: Sequence[_Seen], weights: dict[str, float]) -> float:
    """The offset with the best harmonic mean of hits on learned and on new classes, all asked about together."""
    logits = [_spoken(seen.new, weights) for seen in shown]
    gap = np.concatenate(
        [rows.max(1) - _shared(seen, weights).max(1) for rows, seen in zip(logits, shown, strict=True)]
    )
    is_new = np.concatenate([seen.is_new for seen in shown])
    right = np.concatenate(
        [
            np.where(
                seen.is_new,
                rows.argmax(1) + seen.learned.shape[1] == seen.truth,
                seen.learned.argmax(1) == seen.truth,
            )
            for rows, seen in zip(logits, shown, strict=True)
        ]
    )
    says_new = gap[None] + OFFSETS[:, None] > 0  # [offsets, M]
    hit = right & (says_new == is_new)
    new, known = hit[:, is_new].mean(1), hit[:, ~is_new].mean(1)
    mean = 2 * new * known / np.maximum(new + known, 1e-9)
    return float(np.median(OFFSETS[mean >= mean.max() - 1e-12]))  # the middle of what does equally well
