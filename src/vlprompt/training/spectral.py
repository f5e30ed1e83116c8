"""Muon for the training loop: a step moves every direction of a learned matrix equally far.

    b = momentum b + g;   d = g + momentum b;   p = p - lr weight_decay p - lr √max(rows, columns) U Vᵀ

U S Vᵀ is the singular value decomposition of d. What a method learns are few vectors that stand side by side in a text, and
their gradients are nearly the same vector: steps along them move all vectors alike, and what tells them apart is learned
last. Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, there with an approximation of
U Vᵀ; the matrices here are small enough for the decomposition itself. A direction whose share in d is below a
thousandth of the largest counts as none, so that a tensor without a slope stays where it is.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

NONE = 1e-3  # singular values so far below the largest are noise


def muon(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    """The rate is the root mean square of what a step changes in each number. A tensor of more than two dimensions is a
    matrix of its last one; a vector is a single row, and moves by its length alone."""
    if "momentum_buffer" not in state:
        state["momentum_buffer"] = torch.zeros_like(parameter)
    held = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
    ahead = gradient.add(held, alpha=group["momentum"])
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    parameter.add_(equalised(ahead), alpha=-group["lr"])


def equalised(value: Tensor) -> Tensor:
    """The same directions, each with the same share; root mean square 1 where none is missing.

    A gradient that is not finite makes what is learned so, as with other optimisers, for the training to say.
    """
    if not torch.isfinite(value).all():
        return torch.full_like(value, torch.nan)
    matrix = value.reshape(-1, value.shape[-1]) if value.dim() > 1 else value.reshape(1, -1)
    left, found, right = torch.linalg.svd(matrix.float(), full_matrices=False)
    found = found / found.max().clamp_min(torch.finfo(found.dtype).tiny)
    shares = found / (found.square() + NONE**2).sqrt()
    made = (left * shares) @ right * math.sqrt(max(matrix.shape))
    return made.to(value.dtype).view_as(value)
