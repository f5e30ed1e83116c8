"""Scores of a method on labelled pictures: accuracy, macro F1, per class, confusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from vlprompt.feeding.inputs import Inputs
    from vlprompt.methods.base import Method

MOST_CONFUSIONS = 500  # kept in a saved run


@dataclass(frozen=True)
class ClassScore:
    """One class. count: its pictures. accuracy (recall), precision and f1 in per cent."""

    name: str
    count: int
    accuracy: float
    precision: float
    f1: float


@dataclass(frozen=True)
class Scores:
    """accuracy, macro_f1: per cent; correct and count: pictures. macro_f1: over classes with pictures.

    confusion: [C, C] counts, rows are true classes. probabilities: [N, C] if asked for.
    """

    accuracy: float
    macro_f1: float
    correct: int
    count: int
    classes: tuple[ClassScore, ...] = ()
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64), repr=False)
    probabilities: np.ndarray | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; of the confusions the most frequent ones, as [true, predicted, pictures]."""
        off = self.confusion.copy()
        np.fill_diagonal(off, 0)
        rows, columns = np.nonzero(off)
        order = np.argsort(-off[rows, columns], kind="stable")[:MOST_CONFUSIONS]
        return {
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "correct": self.correct,
            "count": self.count,
            "classes": [vars(c) for c in self.classes],
            "confusions": [[int(rows[i]), int(columns[i]), int(off[rows[i], columns[i]])] for i in order],
        }


def scores_of(
    predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], probabilities: np.ndarray | None = None
) -> Scores:
    """Scores from predicted and true class indices, [N] each."""
    c = len(names)
    confusion = np.bincount(labels * c + predicted, minlength=c * c).reshape(c, c)
    hits, true, said = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    recall = 100 * hits / np.maximum(true, 1)
    precision = 100 * hits / np.maximum(said, 1)
    f1 = 200 * hits / np.maximum(true + said, 1)
    present = true > 0
    rows = tuple(
        ClassScore(str(names[i]), int(true[i]), float(recall[i]), float(precision[i]), float(f1[i]))
        for i in range(c)
    )
    correct, count = int(hits.sum()), len(labels)
    return Scores(
        100 * correct / max(1, count),
        float(f1[present].mean()) if present.any() else 0.0,
        correct,
        count,
        rows,
        confusion,
        probabilities,
    )


def chunk_size(method: Method, budget: int = 1 << 30) -> int:
    """Pictures that may be evaluated at once within a budget in bytes (no gradients are kept)."""
    backbone, classes = method.backbone, len(method.task.class_names)
    if method.facts.per_image_text:
        sizes = backbone.text_sizes
        tokens = 12 * classes
        per_picture = 4 * tokens * (10 * sizes.width + 2 * sizes.mlp_width)
        return max(1, min(256, budget // per_picture))
    if method.facts.cached:
        return max(1, min(65536, budget // (8 * (classes + backbone.embed_dim))))
    vit = backbone.image_sizes
    if vit is None:
        return 64
    per_picture = 4 * (backbone.image_tokens + 16) * (10 * vit.width + 2 * vit.mlp_width)
    return max(1, min(256, budget // per_picture))


def logits_of(
    method: Method, inputs: Inputs, *, view: int = 0, on_progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Logits of all pictures, [N, C] float32, a chunk at a time."""
    import torch

    was_training = method.training
    method.eval()
    parts = list(torch.arange(len(inputs)).split(chunk_size(method))) if len(inputs) else []
    found, done = [], 0
    with torch.no_grad():
        texts = method.constant_texts() if parts else None
        for part, batch in zip(parts, inputs.stream(parts, view), strict=True):
            found.append(method(batch, texts).logits.float().cpu().numpy())
            done += len(part)
            if on_progress is not None:
                on_progress(done)
    method.train(was_training)
    return np.concatenate(found) if found else np.zeros((0, len(method.task.class_names)), np.float32)


def evaluate(
    method: Method,
    inputs: Inputs,
    *,
    probabilities: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Scores:
    """Scores of a method on the pictures of `inputs` (their test crop)."""
    logits = logits_of(method, inputs, on_progress=on_progress)
    names = method.task.class_names
    return scores_of(
        logits.argmax(1), inputs.labels.numpy(), names, softmax(logits) if probabilities else None
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
