"""Which penalty suits: the strength with the most hits on held-out pictures, or in cross-validation where there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # training features and labels, held-out ones
Logits = Callable[[np.ndarray], np.ndarray]  # features [N, d] -> [N, classes]
# (features, labels, strength) -> what it gives of features, and the labels of its columns
Learn = Callable[[np.ndarray, np.ndarray, float], tuple[Logits, np.ndarray]]


def best_strength(
    x: np.ndarray,
    y: np.ndarray,
    held: tuple[np.ndarray, np.ndarray],
    learn: Learn,
    strengths: Sequence[float],
    folds: int,
    otherwise: float,
) -> float:
    """The strength with the most hits; of equal ones that with the surer predictions. held: features and labels, perhaps none.

    otherwise: what is taken where there is nothing to choose by, one picture of a class and none held out.
    """
    parts = [(x, y, *held)] if len(held[1]) else list(dealt(x, y, folds))
    if not parts:
        return otherwise
    scores = np.array(
        [
            [
                _score(*learn(seen, labels, strength), pictures, truth)
                for seen, labels, pictures, truth in parts
            ]
            for strength in strengths
        ]
    ).sum(1)
    return strengths[max(range(len(strengths)), key=lambda i: tuple(scores[i]))]


def dealt(x: np.ndarray, y: np.ndarray, folds: int) -> Iterator[Part]:
    """Training and held-out parts; pictures of a class are dealt out in turn. None if a class has one only."""
    count = min(folds, int(np.unique(y, return_counts=True)[1].min()))
    turn = np.zeros(len(y), dtype=int)
    for label in np.unique(y):
        turn[y == label] = np.arange((y == label).sum()) % max(1, count)
    for part in range(count if count > 1 else 0):
        held = turn == part
        yield x[~held], y[~held], x[held], y[held]


def _score(found: Logits, known: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Hits, and the sum of log probabilities of the true classes, on held-out pictures. known: labels of the columns."""
    place = {label: i for i, label in enumerate(known.tolist())}
    seen = np.array([label in place for label in y.tolist()])
    if not seen.any():
        return 0.0, 0.0
    logits = found(x[seen])
    logits -= logits.max(1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    columns = np.array([place[label] for label in y[seen].tolist()])
    true = np.maximum(logs[np.arange(len(columns)), columns], -50.0)
    return float((logs.argmax(1) == columns).sum()), float(true.sum())
