"""Multinomial logistic regression, solved to the optimum: scikit-learn's objective, without needing it.

    min_{W, b}  strength sum_i CE(W x_i + b, y_i) + |W|^2 / 2

The best W lies in the span of the training features, so that it is looked for in as many dimensions as there are
pictures, if these are fewer. The objective is convex; L-BFGS finds its minimum (Liu and Nocedal, 1989).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

STEPS, TOLERANCE = 500, 1e-5  # the last digits of a weak penalty need not be found


class Solution(NamedTuple):
    """weight: [C, d]; bias: [C], of mean zero; float64."""

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, x: np.ndarray) -> np.ndarray:
        """[N, d] -> [N, C]."""
        return x @ self.weight.T + self.bias


def softmax_regression(x: np.ndarray, y: np.ndarray, strength: float, classes: int | None = None) -> Solution:
    """x: [N, d]; y: [N], class numbers of which each occurs. Of two classes each has half of the difference."""
    count = int(y.max()) + 1 if classes is None else classes
    if count == 2:  # scikit-learn's penalty is on the difference of the two, |2 w|^2 / 2 = |W|^2
        strength /= 2
    with _one_thread():
        return _solved(torch.from_numpy(x.astype(np.float64)), torch.from_numpy(y), strength, count)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Thousands of small products: where cores are busy, threads wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _solved(x: torch.Tensor, target: torch.Tensor, strength: float, count: int) -> Solution:
    z, basis = x, None
    if len(x) < x.shape[1]:
        basis, triangle = torch.linalg.qr(x.t())  # x = triangle.T basis.T
        z = triangle.t().contiguous()
    weight = torch.zeros(count, z.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=STEPS,
        tolerance_grad=TOLERANCE,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(z @ weight.t() + bias, target, reduction="sum") + (weight**2).sum() / (
            2 * strength
        )
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    found = weight.detach() if basis is None else weight.detach() @ basis.t()
    shift = bias.detach().numpy()
    return Solution(found.numpy(), shift - shift.mean())
