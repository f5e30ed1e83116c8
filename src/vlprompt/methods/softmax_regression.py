"""Multinomial logistic regression, solved to the optimum: with free class weights, or with weights made from class names.

    min_{W, b}  strength sum_i CE(W x_i + b, y_i) + |W|^2 / 2           scikit-learn's objective, without needing it
    min_M       strength sum_i CE(z_i + T M x_i, y_i) + |M|^2 / 2       T: a vector of each class; z: logits that are given

The best W or M lies in the span of the training features, and M also in that of T's rows, so that they are looked for in as
many dimensions as there are pictures and classes, if these are fewer. Both are convex; L-BFGS finds the minimum (Liu and Nocedal, 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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


def bilinear_regression(
    x: np.ndarray, y: np.ndarray, vectors: np.ndarray, given: np.ndarray, strength: float
) -> np.ndarray:
    """M, float64 [e, d], such that given + vectors M x tells the classes. x: [N, d]; y: [N]; vectors: T, [C, e]; given: z, [N, C]."""
    with _one_thread():
        z, basis = _within_span(torch.from_numpy(x.astype(np.float64)))
        kinds, own_basis = _within_span(torch.from_numpy(vectors.astype(np.float64)))
        target, base = torch.from_numpy(y), torch.from_numpy(given.astype(np.float64))
        inner = torch.zeros(kinds.shape[1], z.shape[1], dtype=torch.float64, requires_grad=True)

        def loss() -> torch.Tensor:
            logits = base + z @ (kinds @ inner).t()
            return F.cross_entropy(logits, target, reduction="sum") + (inner**2).sum() / (2 * strength)

        _minimise([inner], loss)
        found = inner.detach()
        found = found if basis is None else found @ basis.t()
        return (found if own_basis is None else own_basis @ found).numpy()


def _within_span(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Rows in coordinates of the space that they span, and that space's basis, if it is smaller: [N, d] = [N, n] [n, d]."""
    if len(rows) >= rows.shape[1]:
        return rows, None
    basis, triangle = torch.linalg.qr(rows.t())  # rows = triangle.T basis.T
    return triangle.t().contiguous(), basis


def _solved(x: torch.Tensor, target: torch.Tensor, strength: float, count: int) -> Solution:
    z, basis = _within_span(x)
    weight = torch.zeros(count, z.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)

    def loss() -> torch.Tensor:
        fit = F.cross_entropy(z @ weight.t() + bias, target, reduction="sum")
        return fit + (weight**2).sum() / (2 * strength)

    _minimise([weight, bias], loss)
    found = weight.detach() if basis is None else weight.detach() @ basis.t()
    shift = bias.detach().numpy()
    return Solution(found.numpy(), shift - shift.mean())


def _minimise(unknown: Sequence[torch.Tensor], loss: Callable[[], torch.Tensor]) -> None:
    """Brings the tensors to where a convex loss is least."""
    optimizer = torch.optim.LBFGS(
        unknown,
        max_iter=STEPS,
        tolerance_grad=TOLERANCE,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)
