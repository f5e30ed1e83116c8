"""Optimisers as published: SGD with momentum and weight decay on every learned tensor, or AdamW."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, MutableMapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Optimizer(Protocol):
    """What the loop needs; torch's optimisers fulfil it."""

    param_groups: list[dict[str, Any]]

    @property
    def state(self) -> MutableMapping[Any, Any]: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> Any: ...


class Sgd:
    """Momentum without dampening, weight decay added to the gradient:

        g = gradient + weight_decay p;   b = g at first, then momentum b + g;   p = p - lr b

    The same numbers as torch.optim.SGD, whose first use imports a compiler for a second or two. Tensors
    without a gradient are left alone, so they do not decay either.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.9,
                 weight_decay: float = 5e-4) -> None:
        self.param_groups: list[dict[str, Any]] = [
            {"params": list(parameters), "lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        ]
        self.state: defaultdict[nn.Parameter, dict[str, Tensor]] = defaultdict(dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        group = self.param_groups[0]
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
            state = self.state[parameter]
            if "momentum_buffer" in state:
                state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
            else:
                state["momentum_buffer"] = gradient
            parameter.add_(state["momentum_buffer"], alpha=-group["lr"])


def make_optimizer(kind: str, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.9,
                   weight_decay: float = 5e-4) -> Optimizer:
    """kind: "sgd" or "adamw"; momentum is for sgd."""
    own = [p for p in parameters if p.requires_grad]
    if kind == "adamw":
        return torch.optim.AdamW(own, lr=lr, weight_decay=weight_decay)
    return Sgd(own, lr, momentum, weight_decay)
