"""Learned tensors that ask for an optimiser of their own kind, or a rate of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, eq=False)
class ParameterGroup:
    """Tensors of a method, and how they learn; what is None is as the training says.

    optimizer: as `TrainOptions.optimizer`. lr: highest rate; it follows the training's schedule.
    """

    parameters: Sequence[nn.Parameter]
    optimizer: str | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
