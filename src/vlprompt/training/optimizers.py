"""Optimisers as published: SGD with momentum and weight decay on every learned tensor, Adam, or AdamW; L-BFGS and Muon.

Groups of tensors may have a kind and a rate of their own in one training (`Method.parameter_groups`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vlprompt.errors import OptionError, nearest
from vlprompt.methods.parameter_groups import ParameterGroup
from vlprompt.training.quasi_newton import lbfgs, lbfgs_end
from vlprompt.training.spectral import muon

__all__ = ["KINDS", "Optimizer", "ParameterGroup", "grouped_optimizer", "make_optimizer"]

FIRST, SECOND, TINY = 0.9, 0.999, 1e-8  # of Adam: how slowly both means move, and what is added to the root
Group = dict[str, Any]
States = defaultdict[nn.Parameter, dict[str, Tensor]]
WHOLE = "lbfgs"  # the kind that wants the loss of all pictures in every step


def sgd(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Group) -> None:
    """Momentum without dampening, weight decay added to the gradient; the same numbers as torch.optim.SGD:

    g = gradient + weight_decay p;   b = g at first, then momentum b + g;   p = p - lr b
    """
    gradient = gradient.add(parameter, alpha=group["weight_decay"])
    if "momentum_buffer" in state:
        state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
    else:
        state["momentum_buffer"] = gradient
    parameter.add_(state["momentum_buffer"], alpha=-group["lr"])


def adamw(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Group) -> None:
    """Adam with decay apart from the gradient (Loshchilov and Hutter, 2019); the same numbers as torch.optim.AdamW:

    m = 0.9 m + 0.1 g;   v = 0.999 v + 0.001 g²;   both from 0 and divided by 1 - 0.9^t and 1 - 0.999^t in step t
    p = p - lr weight_decay p - lr m / (√v + 1e-8)
    """
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    _follow(parameter, gradient, state, group["lr"])


def adam(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Group) -> None:
    """Adam (Kingma and Ba, 2015), weight decay added to the gradient; the same numbers as torch.optim.Adam."""
    if group["weight_decay"]:
        gradient = gradient.add(parameter, alpha=group["weight_decay"])
    _follow(parameter, gradient, state, group["lr"])


def _follow(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: float) -> None:
    """The step that Adam and AdamW share."""
    if not state:
        state["step"] = torch.tensor(0.0)  # on the CPU: a number, and a tensor only for the checkpoint
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    state["step"] += 1
    step, mean, square = float(state["step"]), state["exp_avg"], state["exp_avg_sq"]
    mean.lerp_(gradient, 1 - FIRST)
    square.mul_(SECOND).addcmul_(gradient, gradient, value=1 - SECOND)
    root = (square.sqrt() / (1 - SECOND**step) ** 0.5).add_(TINY)
    parameter.addcdiv_(mean, root, value=-lr / (1 - FIRST**step))


def alone(
    move: Callable[[Tensor, Tensor, dict[str, Tensor], Group], None],
) -> Callable[[Group, States, float], None]:
    """A step of a group in which every tensor moves by itself; those without a gradient are left alone, so they do not
    decay either."""

    def step(group: Group, states: States, loss: float) -> None:
        for parameter in group["params"]:
            if parameter.grad is not None:
                move(parameter, parameter.grad, states[parameter], group)

    return step


KINDS: dict[str, Callable[[Group, States, float], None]] = {
    "sgd": alone(sgd),
    "adam": alone(adam),
    "adamw": alone(adamw),
    "muon": alone(muon),
    WHOLE: lbfgs,
}


class Optimizer:
    """Steps of all groups. torch.optim's own load a compiler at first use: two seconds, and a folder that stays.

    param_groups: dicts of params, kind, lr, momentum, weight_decay, and highest_lr, which the schedule starts from.
    """

    def __init__(self, groups: Iterable[Group]) -> None:
        self.param_groups = list(groups)
        self.state: States = defaultdict(dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, loss: float = math.nan) -> None:
        """One step of every tensor that has a gradient. loss: what the gradients are of; lbfgs wants to know it."""
        for group in self.param_groups:
            KINDS[group["kind"]](group, self.state, loss)

    @property
    def judges(self) -> bool:
        """Whether a step's end is judged by the next one only, so that the last one of a training needs `end`."""
        return any(group["kind"] == WHOLE for group in self.param_groups)

    @torch.no_grad()
    def end(self, loss: float) -> bool:
        """After the last step, with the loss where it led to: takes back a move that was not good; whether it did."""
        groups = [group for group in self.param_groups if group["kind"] == WHOLE]
        went_back = [lbfgs_end(group, self.state, loss) for group in groups]
        return any(went_back)


def make_optimizer(
    kind: str,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> Optimizer:
    """One group of the tensors that learn. kind: one of `KINDS`; momentum is for sgd and muon."""
    return grouped_optimizer(kind, parameters, [], lr=lr, momentum=momentum, weight_decay=weight_decay)


def grouped_optimizer(
    kind: str,
    parameters: Iterable[nn.Parameter],
    groups: Sequence[ParameterGroup],
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> Optimizer:
    """All tensors that learn; those of a group as it says, the others (the first group) as the arguments say."""
    usual = {"kind": kind, "lr": lr, "momentum": momentum, "weight_decay": weight_decay}
    apart: list[Group] = []
    taken: set[int] = set()
    for group in groups:
        said = {
            "kind": group.optimizer,
            "lr": group.lr,
            "momentum": group.momentum,
            "weight_decay": group.weight_decay,
        }
        own = [p for p in group.parameters if p.requires_grad]
        if taken & {id(p) for p in own}:
            raise OptionError("a tensor is in two parameter groups: name each in one")
        taken |= {id(p) for p in own}
        apart.append({"params": own, **usual, **{k: v for k, v in said.items() if v is not None}})
    rest = [p for p in parameters if p.requires_grad and id(p) not in taken]
    found = [{"params": rest, **usual}, *apart]
    for one in found:
        if one["kind"] not in KINDS:
            raise OptionError(f'no optimizer "{one["kind"]}": {nearest(str(one["kind"]), KINDS)}')
        one["highest_lr"] = one["lr"]
    return Optimizer(found)
