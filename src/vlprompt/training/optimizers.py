"""Optimisers as published: SGD with momentum and weight decay on every learned tensor, or AdamW."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def make_optimizer(kind: str, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.9,
                   weight_decay: float = 5e-4) -> torch.optim.Optimizer:
    """kind: "sgd" (no dampening, no Nesterov) or "adamw". Tensors without a gradient are left alone."""
    own = [p for p in parameters if p.requires_grad]
    if kind == "adamw":
        return torch.optim.AdamW(own, lr=lr, weight_decay=weight_decay)
    return torch.optim.SGD(own, lr=lr, momentum=momentum, weight_decay=weight_decay)
