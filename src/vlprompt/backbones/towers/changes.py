"""Small changes of attention matrices beside frozen towers: W x + b becomes W x + b + U D x.

A changed tower is a view of the frozen one: it has the same weights, not copies, and blocks whose attention adds the
changes on the way. Whoever evaluates prompts takes its blocks as those of any other tower.
Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
        places = range(start // self.width, stop // self.width)
        added = [self._added(x, self.changes[i]) if i in self.changes else None for i in places]
        if all(part is None for part in added):
            return found
        none = torch.zeros((), device=x.device, dtype=found.dtype).expand(*x.shape[:-1], self.width)
        parts = [none if part is None else part.to(found.dtype) for part in added]
        return found + (parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1))

    @staticmethod
    def _added(x: Tensor, change: MatrixChange) -> Tensor:
        if change.kept is None:
            return F.linear(F.linear(wide(x), change.down), change.up)
        kept, missing = change.kept, x.shape[-2] - change.kept.shape[-2]
        kept = F.pad(kept, (0, 0, 0, missing)) if missing > 0 else kept[..., : x.shape[-2], :]
        kept = kept.repeat(len(x) // len(kept), 1, 1)  # rows of one prefix after those of another
        return F.linear(_SeenInPart.apply(x, kept, change.down, 1 / change.share), change.up)


class _SeenInPart(torch.autograd.Function):
    """(factor kept x) down^T. What is kept of x is computed again in the backward pass: several changes see one x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, down: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(x, kept, down)
        ctx.factor = factor
        return F.linear(wide(x) * kept, factor * down)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, None]:
        (x, kept, down), (gradient,) = ctx.saved_tensors, gradients
        to_x = (gradient @ (ctx.factor * down)) * kept
        rows = gradient.flatten(0, -2).t() @ (wide(x) * kept).flatten(0, -2)
        return to_x.to(x.dtype), None, ctx.factor * rows, None


def changed(tower: T, changes: Sequence[MatrixChange]) -> T:
    """The tower with changes in its blocks; those for blocks that it does not have do nothing.

    Where something is dropped the last block is to be computed at all positions (`whole`), since a position's factors
    are known by where it stands.
    """
    if not changes:
        return tower
    own: dict[int, list[MatrixChange]] = {}
    for change in changes:
        own.setdefault(change.block, []).append(change)
    blocks: Any = tower.blocks
    new = [_changed_block(block, own[i]) if i in own else block for i, block in enumerate(blocks)]
    view = _with_parts(tower, blocks=nn.ModuleList(new))
    view.__dict__["whole"] = drops(changes)
    return view


def _changed_block(block: nn.Module, changes: Sequence[MatrixChange]) -> nn.Module:
    inner = {_PLACE[c.matrix]: c for c in changes if c.matrix != "o"}
    outer = {_PLACE[c.matrix]: c for c in changes if c.matrix == "o"}
    parts: dict[str, nn.Module] = {}
    for name, own in (("qkv", inner), ("out", outer)):
        if own:
            layer: Any = getattr(block, name)
            parts[name] = ChangedLayer(layer, layer.in_features, own)
    return _with_parts(block, **parts)


def _with_parts(module: T, **parts: nn.Module) -> T:
    """A module that shares everything with another but some parts."""
    other = copy.copy(module)
    other.__dict__["_modules"] = {**module._modules, **parts}
    return other
