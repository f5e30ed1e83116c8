"""The joint space and both maps into it by least squares: no training.

The joint space is the pictures': the principal axes of the stem's pooled features. What a class looks like in it is
its row of EfficientNet's classifier. Sentence embeddings are mapped to what their texts look like by kernel regression:
names and glosses of the 1,000 classes to the classes' rows, wider concepts to the mean of the rows below them,
captions to their pictures.
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
        return Pairs(
            self.texts + other.texts,
            torch.cat([self.targets, other.targets]),
            torch.cat([self.weights, other.weights]),
        )


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


def pivots(texts: Tensor, weights: Tensor, count: int, width: float) -> list[int]:
    """Rows of `texts` [N, W] (unit length) that stand for the others: pivoted Cholesky of the weighted kernel.

    Each next one is the text whose weighted kernel is least explained by those chosen before.
    """
    left, root = weights.clone(), weights.sqrt()
    factors, chosen = torch.zeros(len(texts), count), []
    for j in range(count):
        i = int(left.argmax())
        chosen.append(i)
        column = ((texts @ texts[i] - 1) / width**2).exp() * root * root[i]
        column = (column - factors[:, :j] @ factors[i, :j]) / left[i].clamp(min=1e-9).sqrt()
        factors[:, j] = column
        left = (left - column * column).clamp(min=0)
        left[i] = 0
    return chosen


@dataclass(frozen=True)
class KernelMap:
    """exp(hidden s + bias) for unit-length sentences s, then a linear layer: nearness to known texts, and what those look like."""

    hidden: Tensor  # [M, W]
    bias: Tensor  # [M]
    projection: Tensor  # [D, M]


def kernel_regression(
    sentences: Tensor, targets: Tensor, weights: Tensor, count: int, width: float, strength: float
) -> KernelMap:
    """Kernel ridge regression (Gaussian of `width`) on `count` of the texts (Nystroem's approximation).

    Between unit vectors the Gaussian is exp((s . z - 1) / width^2): a linear layer and an exponential.
    """
    x, w = F.normalize(sentences, dim=1), weights[:, None]
    known = x[pivots(x, weights.clamp(min=0.05), count, width)]

    def kernel(a: Tensor) -> Tensor:
        return ((a @ known.T - 1) / width**2).exp()

    k = kernel(x)
    gram = (k * w).T @ k + strength * kernel(known)
    gram = gram + 1e-5 * gram.diagonal().mean() * torch.eye(
        count
    )  # coefficients stay small: they are stored in fp16
    solved = torch.linalg.solve(gram.double(), ((k * w).T @ targets).double()).float()
    return KernelMap(known / width**2, torch.full((count,), -1 / width**2), solved.T.contiguous())
