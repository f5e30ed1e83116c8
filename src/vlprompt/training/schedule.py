"""The learning rate as a pure function of the epoch: a cosine after a constant warm-up, as published."""

from __future__ import annotations

import math


def learning_rate(
    epoch: int, *, lr: float, epochs: int, warmup_epochs: int = 0, warmup_lr: float = 1e-5
) -> float:
    """The rate that every step of an epoch (counted from 0) uses.

    The cosine starts counting after the warm-up but keeps its full period, so that with a warm-up the
    last epoch does not come close to 0: this is how the published code behaves.
    """
    if epoch < warmup_epochs:
        return warmup_lr
    return lr * (1 + math.cos(math.pi * (epoch - max(0, warmup_epochs)) / epochs)) / 2
