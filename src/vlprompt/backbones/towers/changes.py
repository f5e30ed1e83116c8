"""Small changes of attention matrices beside frozen towers: W x + b becomes W x + b + U D x.

A changed tower is a view of the frozen one: it has the same weights, not copies, and blocks whose attention adds the
changes on the way. Whoever evaluates prompts takes its blocks as those of any other tower.
Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.towers.transformer import wide

Matrix = Literal["q", "k", "v", "o"]  # queries, keys, values, and the output of attention
_PLACE = {"q": 0, "k": 1, "v": 2, "o": 0}  # which part of the rows of its layer a matrix is
T = TypeVar("T", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class MatrixChange:
    """The change of one matrix of a block (numbered from 0): down [r, width], up [width, r].

    kept: which numbers of the input the change sees, [rows, tokens, width] of true and false: dropout, drawn by whom the
    change belongs to, so that it does not depend on how prompts are evaluated. Tokens beyond have no influence.
    share: of the numbers that it sees on average, by which they are divided.
    """

    block: int
    matrix: Matrix
    down: Tensor
    up: Tensor
    kept: Tensor | None = None
    share: float = 1.0

    def tensors(self) -> list[Tensor]:
        return [self.down, self.up, *(() if self.kept is None else (self.kept,))]

    def rows(self, index: Tensor) -> MatrixChange:
        """The same for some rows."""
        return self if self.kept is None else replace(self, kept=self.kept[index.to(self.kept.device)])


def drops(changes: Sequence[MatrixChange]) -> bool:
    """Whether some change does not see all of its input."""
    return any(change.kept is not None for change in changes)


class ChangedLayer(nn.Module):
    """A frozen linear layer with changes of some parts of its rows, each `width` rows long."""

    def __init__(self, layer: nn.Linear, width: int, changes: dict[int, MatrixChange]) -> None:
        super().__init__()
        self.layer, self.width, self.changes = layer, width, changes
        self.weight = layer.weight
        if not torch.is_grad_enabled() and not drops(list(changes.values())):  # one product does for both
            parts = list(wide(layer.weight).split(width))
            for place, change in changes.items():
                parts[place] = parts[place] + change.up @ change.down
            self.__dict__["merged"] = torch.cat(parts).to(layer.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(x, 0, len(self.weight))

    def rows(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Outputs start..stop, whole parts: [..., tokens, width] -> [..., tokens, stop - start]."""
        bias = self.layer.bias[start:stop]
        if "merged" in self.__dict__:
            return F.linear(x, self.__dict__["merged"][start:stop], bias)
        found = F.linear(x, self.weight[start:stop], bias)
        own = {place: c for place, c in self.changes.items() if start <= place * self.width < stop}
        columns = [slice(place * self.width - start, (place + 1) * self.width - start) for place in own]
        return self.added(found, x, columns, list(own.values())) if own else found

    def added(self, y: Tensor, x: Tensor, columns: list[slice], changes: list[MatrixChange]) -> Tensor:
        """The layer's own output y, which nobody else holds, with what each change adds to its columns."""
        kept = [None if c.kept is None else kept_of(x, c.kept) for c in changes]
        matrices = [m for c in changes for m in (c.down / (1 if c.kept is None else c.share), c.up)]
        return _Added.apply(y, x, columns, kept, *matrices)


def kept_of(x: Tensor, kept: Tensor) -> Tensor:
    """Which numbers of x, [rows, tokens, width], are seen: all of the tokens beyond those that `kept` speaks of are not."""
    missing = x.shape[-2] - kept.shape[-2]
    kept = F.pad(kept, (0, 0, 0, missing)) if missing > 0 else kept[..., : x.shape[-2], :]
    copies = len(x) // len(kept)
    return kept if copies == 1 else kept.repeat(copies, 1, 1)  # rows of one prefix after those of another


class _Added(torch.autograd.Function):
    """y with up down (kept x) added, in place, to some of its columns for each change.

    What a change sees of x is made anew in the backward pass, and in one buffer for all: next to the activations that
    must be held, temporary tensors of their size would leave holes between them that nothing fits into.
    """

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, x: Tensor, columns: list[slice], kept: list[Tensor | None], *matrices: Tensor
    ) -> Tensor:
        ctx.mark_dirty(y)
        rows, seen = y.view(-1, y.shape[-1]), _Seen(x)
        inner = []
        for at, mask, down, up in zip(columns, kept, matrices[::2], matrices[1::2], strict=True):
            inner.append(seen.through(mask) @ down.t())
            if y.dtype == up.dtype:
                rows[:, at].addmm_(inner[-1], up.t())
            else:
                rows[:, at] += (inner[-1] @ up.t()).to(y.dtype)
        ctx.save_for_backward(x, *inner, *matrices, *(mask for mask in kept if mask is not None))
        ctx.columns, ctx.dropped = columns, [mask is not None for mask in kept]
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        n = len(ctx.columns)
        x, *saved = ctx.saved_tensors
        inner, matrices, masks = saved[:n], saved[n : 3 * n], iter(saved[3 * n :])
        seen, rows = _Seen(x), gradients[0].flatten(0, -2)
        to_x = torch.zeros_like(seen.x) if ctx.needs_input_grad[1] else None
        found: list[Tensor] = []
        for i, (at, dropped) in enumerate(zip(ctx.columns, ctx.dropped, strict=True)):
            down, up = matrices[2 * i : 2 * i + 2]
            mask: Tensor | None = next(masks) if dropped else None
            to_y = wide(rows[:, at])
            to_inner = to_y @ up
            found += [to_inner.t() @ seen.through(mask), to_y.t() @ inner[i]]
            if to_x is None:
                continue
            if mask is None:
                to_x.addmm_(to_inner, down)
            else:
                to_x += seen.hidden(torch.mm(to_inner, down, out=seen.buffer), mask)
        return gradients[0], None if to_x is None else to_x.view_as(x).to(x.dtype), None, None, *found


class _Seen:
    """What changes see of x, [rows, tokens, width], one after the other in the same memory."""

    def __init__(self, x: Tensor) -> None:
        self.x = wide(x).flatten(0, -2)
        self.nothing = self.x.new_zeros(())

    @cached_property
    def buffer(self) -> Tensor:
        return torch.empty_like(self.x)

    def through(self, kept: Tensor | None) -> Tensor:
        """[rows tokens, width]: zero where it is not kept, until the next is asked for."""
        return self.x if kept is None else self.hidden(self.x, kept)

    def hidden(self, values: Tensor, kept: Tensor) -> Tensor:
        """In the buffer. A product with `kept` would make numbers of it first, as many as x has."""
        return torch.where(kept.flatten(0, -2), values, self.nothing, out=self.buffer)


def changed(tower: T, changes: Sequence[MatrixChange], layer: type[ChangedLayer] = ChangedLayer) -> T:
    """The tower with changes in its blocks; those for blocks that it does not have do nothing. layer: how they are
    computed.

    Where something is dropped the last block is to be computed at all positions (`whole`), since a position's factors
    are known by where it stands.
    """
    if not changes:
        return tower
    own: dict[int, list[MatrixChange]] = {}
    for change in changes:
        own.setdefault(change.block, []).append(change)
    blocks: Any = tower.blocks
    new = [_changed_block(block, own[i], layer) if i in own else block for i, block in enumerate(blocks)]
    view = _with_parts(tower, blocks=nn.ModuleList(new))
    view.__dict__["whole"] = drops(changes)
    return view


def _changed_block(block: nn.Module, changes: Sequence[MatrixChange], kind: type[ChangedLayer]) -> nn.Module:
    inner = {_PLACE[c.matrix]: c for c in changes if c.matrix != "o"}
    outer = {_PLACE[c.matrix]: c for c in changes if c.matrix == "o"}
    parts: dict[str, nn.Module] = {}
    for name, own in (("qkv", inner), ("out", outer)):
        if own:
            layer: Any = getattr(block, name)
            parts[name] = kind(layer, layer.in_features, own)
    return _with_parts(block, **parts)


def _with_parts(module: T, **parts: nn.Module) -> T:
    """A module that shares everything with another but some parts."""
    other = copy.copy(module)
    other.__dict__["_modules"] = {**module._modules, **parts}
    return other
