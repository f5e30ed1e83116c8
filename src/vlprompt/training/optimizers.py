"""Optimisers as published: SGD with momentum and weight decay on every learned tensor, or AdamW."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Optimizer:
    """What both have in common. torch.optim's own load a compiler at first use: two seconds, and a folder that stays."""

    def __init__(self, parameters: Iterable[nn.Parameter], **settings: float) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), **settings}]
        self.state: defaultdict[nn.Parameter, dict[str, Tensor]] = defaultdict(dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step of every tensor that has a gradient; those without are left alone, so they do not decay either."""
        group = self.param_groups[0]
        for parameter in group["params"]:
            if parameter.grad is not None:
                self.move(parameter, parameter.grad, self.state[parameter], group)

    def move(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
    ) -> None:
        raise NotImplementedError


class Sgd(Optimizer):
    """Momentum without dampening, weight decay added to the gradient; the same numbers as torch.optim.SGD:

    g = gradient + weight_decay p;   b = g at first, then momentum b + g;   p = p - lr b
    """

    def move(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
    ) -> None:
        gradient = gradient.add(parameter, alpha=group["weight_decay"])
        if "momentum_buffer" in state:
            state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        else:
            state["momentum_buffer"] = gradient
        parameter.add_(state["momentum_buffer"], alpha=-group["lr"])


class AdamW(Optimizer):
    """Adam with decay apart from the gradient (Loshchilov and Hutter, 2019); the same numbers as torch.optim.AdamW:

    m = 0.9 m + 0.1 g;   v = 0.999 v + 0.001 g²;   both from 0 and divided by 1 - 0.9^t and 1 - 0.999^t in step t
    p = p - lr weight_decay p - lr m / (√v + 1e-8)
    """

    FIRST, SECOND, TINY = 0.9, 0.999, 1e-8

    def move(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
    ) -> None:
        if not state:
            state["step"] = torch.tensor(0.0)  # on the CPU: a number, and a tensor only for the checkpoint
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        step, mean, square = float(state["step"]), state["exp_avg"], state["exp_avg_sq"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        mean.lerp_(gradient, 1 - self.FIRST)
        square.mul_(self.SECOND).addcmul_(gradient, gradient, value=1 - self.SECOND)
        root = (square.sqrt() / (1 - self.SECOND**step) ** 0.5).add_(self.TINY)
        parameter.addcdiv_(mean, root, value=-group["lr"] / (1 - self.FIRST**step))


def make_optimizer(
    kind: str,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> Optimizer:
    """kind: "sgd" or "adamw"; momentum is for sgd."""
    own = [p for p in parameters if p.requires_grad]
    if kind == "adamw":
        return AdamW(own, lr=lr, weight_decay=weight_decay)
    return Sgd(own, lr=lr, momentum=momentum, weight_decay=weight_decay)
