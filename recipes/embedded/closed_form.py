"""The joint space and both linear maps by least squares: no training.

The joint space is the pictures': the principal axes of the stem's pooled features. What a class looks like in it is
its row of EfficientNet's classifier. Sentence embeddings are mapped to what their texts look like: names and glosses
of the 1,000 classes to the classes' rows, wider concepts to the mean of the rows below them, captions to their pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from texts import Concept, leaves
from torch import Tensor


def principal_axes(pooled: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Pooled features [N, C] -> linear layer (weight [width, C], bias [width]) onto their axes, of RMS 1 on average."""
    mean = pooled.mean(0)
    axes = torch.linalg.svd(pooled - mean, full_matrices=False).Vh[:width]
    scale = 1 / ((pooled - mean) @ axes.T).pow(2).mean().sqrt()  # blocks expect numbers near 1
    return axes * scale, -(axes * scale) @ mean


def class_directions(classifier: Tensor, axes: Tensor) -> Tensor:
    """Classifier rows [1000, C] -> unit vectors in the joint space [1000, width]."""
    return F.normalize((classifier - classifier.mean(0)) @ axes.T, dim=1)


@dataclass(frozen=True)
class Pairs:
    """What a text looks like. texts: lines. targets: [N, width]. weights: [N]."""

    texts: list[str]
    targets: Tensor
    weights: Tensor

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(self.texts + other.texts, torch.cat([self.targets, other.targets]), torch.cat([self.weights, other.weights]))


def class_pairs(concepts: dict[str, Concept], ids: list[str], directions: Tensor, wider: float) -> Pairs:
    """Names, glosses and a template of every class; wider concepts with weight `wider` (0: none)."""
    texts, rows, weights = [], [], []

    def add(line: str, row: Tensor, weight: float) -> None:
        texts.append(line)
        rows.append(row)
        weights.append(weight)

    centred = directions - directions.mean(0)
    for key, row in zip(ids, centred, strict=True):
        names, gloss = concepts[key].names, concepts[key].gloss
        add(names[0], row, 1.0)
        add(f"{names[0]}, {gloss}", row, 0.7)
        add(f"a photo of a {names[0]}", row, 0.7)
        for name in names[1:4]:
            add(name, row, 0.5)
    if wider:
        for key, below in leaves(concepts, ids).items():
            row = F.normalize(directions[below].mean(0), dim=0) - directions.mean(0)
            for i, name in enumerate(concepts[key].names[:3]):
                add(name, row, wider * (1.0 if i == 0 else 0.5))
    return Pairs(texts, torch.stack(rows), torch.tensor(weights))


def ridge(sentences: Tensor, targets: Tensor, weights: Tensor, strength: float, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted ridge regression from `sentences` [N, W] around `shift` -> linear layer (weight, bias)."""
    x, w = sentences - shift, weights[:, None] / weights.sum()
    gram = (x * w).T @ x
    gram = gram + strength * gram.diagonal().mean() * torch.eye(len(gram))
    weight = torch.linalg.solve(gram, (x * w).T @ targets).T
    return weight, -(weight @ shift)
