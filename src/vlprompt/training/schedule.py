"""The learning rate as a pure function of the epoch: a cosine after a constant warm-up, as published."""

from __future__ import annotations

import math


def learning_rate(
    epoch: float,
    *,
    lr: float,
    epochs: int,
    warmup_epochs: int = 0,
    warmup_lr: float = 1e-5,
    final_lr: float = 0.0,
) -> float:
    """The rate at an epoch (counted from 0; with a fraction, a step in it).

    The cosine starts counting after the warm-up but keeps its full period, so that with a warm-up the
    last epoch does not come close to final_lr: this is how the published code behaves.
    """
    if epoch < warmup_epochs:
        return warmup_lr
    share = (1 + math.cos(math.pi * (epoch - max(0, warmup_epochs)) / epochs)) / 2
    return lr * share if not final_lr else final_lr + (lr - final_lr) * share
