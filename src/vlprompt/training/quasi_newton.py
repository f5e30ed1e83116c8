"""L-BFGS for the training loop: one evaluation of the loss for one step, and everything it remembers is tensors.

    d = -H g;   x + t d is evaluated next;   H from the last moves s and changes y of the gradient (two loops)

With frozen features the loss of all pictures costs one pass through the text tower, so that it can be taken without
noise, which Adam and SGD with their batches do not use. Source: Liu and Nocedal, "On the limited memory BFGS method for
large scale optimization", Mathematical Programming 1989. A point is good if its loss is below the highest of the last
four good ones (Grippo, Lampariello and Lucidi, SIAM J. Numer. Anal. 1986); if it is not, the step from the last
good one is made shorter. The last point of a training is judged, too (`lbfgs_end`). Where the slope gets steeper along a
move, H is kept and the next step is twice as long.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

MEMORY = 20  # moves that H is made from
LOOKED_BACK = 4
DECREASE = 1e-4  # share of what the slope promises that a step has to bring
SHORTEST, LONGEST = 0.1, 0.5  # of a step that was too long
STRAIGHT = 1e-8  # curvature along a move below which it says nothing


def lbfgs(group: dict[str, Any], states: defaultdict[nn.Parameter, dict[str, Tensor]], loss: float) -> None:
    """Judges the point that the gradients and the loss are of, and moves to the next one.

    The rate is the longest step: the root mean square of what it changes in each number. Weight decay is part of the loss.
    """
    learned = [p for p in group["params"] if p.grad is not None]
    if not learned:
        return
    decay = group["weight_decay"]
    here = torch.cat([p.detach().reshape(-1) for p in learned])
    gradient = torch.cat([p.grad.reshape(-1) for p in learned if p.grad is not None])
    gradient = gradient + decay * here
    loss += decay / 2 * float(here @ here)
    state = states[learned[0]]
    if "point" in state and len(state["point"]) != len(here):  # other tensors than before
        state.clear()
    known = state["losses"].tolist() if state else []
    share = 1.0
    if state:
        slope, share = float(state["slope"]), float(state["share"])
        if not _good(state, loss):
            rise = loss - known[-1] - share * slope  # of a parabola through both points
            found = -slope * share * share / (2 * rise) if rise > 0 else 0.0
            share = min(max(found, SHORTEST * share), LONGEST * share)
            _go(learned, state, share)
            return
        share = _remember(state, here - state["point"], gradient - state["gradient"], share)
    direction = _direction(state, gradient)
    slope = float(direction @ gradient)
    farthest = group["lr"] * math.sqrt(len(here)) / max(float(direction.norm()), 1e-30)
    state["point"], state["gradient"], state["direction"] = here, gradient, direction
    state["learned"] = torch.tensor([p.grad is not None for p in group["params"]])
    state["losses"] = torch.tensor([*known, loss][-LOOKED_BACK:], dtype=torch.float64)
    state["slope"] = torch.tensor(slope, dtype=torch.float64)
    _go(learned, state, min(share, farthest) if "moves" in state else farthest)


def lbfgs_end(
    group: dict[str, Any], states: defaultdict[nn.Parameter, dict[str, Tensor]], loss: float
) -> bool:
    """Back to the last good point if that of the last move, whose loss this is, is not good; whether it went back."""
    for first in group["params"]:
        state = states.get(first, {})
        if "learned" not in state:
            continue
        learned = [p for p, own in zip(group["params"], state["learned"].tolist(), strict=True) if own]
        decay = group["weight_decay"]
        loss += decay / 2 * sum(float(p.detach().square().sum()) for p in learned)
        if not _good(state, loss):
            _go(learned, state, 0.0)
            return True
    return False


def _good(state: dict[str, Tensor], loss: float) -> bool:
    """Whether the loss where the last move led to is below the highest of the last good ones, by what the slope promises."""
    return loss <= max(state["losses"].tolist()) + DECREASE * float(state["share"]) * float(state["slope"])


def _remember(state: dict[str, Tensor], move: Tensor, change: Tensor, share: float) -> float:
    """Adds a move and what it changed in the gradient, if the loss curves upwards there; the share to try next."""
    if not float(move @ change) > STRAIGHT * float(change @ change):
        return 2 * share
    for name, value in (("moves", move), ("changes", change)):
        held = [state[name][1 - MEMORY :]] if name in state else []
        state[name] = torch.cat([*held, value[None]])
    return 1.0


def _direction(state: dict[str, Tensor], gradient: Tensor) -> Tensor:
    """-H g."""
    found = -gradient
    if "moves" not in state:
        return found
    pairs = list(zip(state["moves"], state["changes"], strict=True))
    weights = []
    for move, change in reversed(pairs):
        weights.append((move @ found) / (move @ change))
        found = found - weights[-1] * change
    move, change = pairs[-1]
    found = found * ((move @ change) / (change @ change))
    for (move, change), weight in zip(pairs, reversed(weights), strict=True):
        found = found + (weight - (change @ found) / (move @ change)) * move
    return found


def _go(learned: list[nn.Parameter], state: dict[str, Tensor], share: float) -> None:
    """To the point in the direction of the last good one, so many of its lengths away."""
    state["share"] = torch.tensor(share, dtype=torch.float64)
    there = state["point"] + share * state["direction"]
    for parameter, value in zip(learned, there.split([p.numel() for p in learned]), strict=True):
        parameter.copy_(value.view_as(parameter))
