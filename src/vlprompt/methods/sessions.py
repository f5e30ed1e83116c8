"""Growing by sessions: classes that were learned earlier and do not change any more, when others arrive.

`KeptClasses` holds what was learned of them; `Sessions` is a method once for each session's classes, so that a pass over
them does not depend on any that came later and gives the same bits as when the session ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from vlprompt.methods.base import Method


class KeptClasses(nn.Module):
    """Buffers, so that they are saved and never trained.

    tokens: [K, L, D] label tokens of the K classes; mask: [K, L], which of them a class has.
    sizes: [S], how many classes each earlier session brought; their sum is K.
    """

    tokens: Tensor
    mask: Tensor
    sizes: Tensor

    def __init__(self, tokens: Tensor, mask: Tensor, sizes: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("tokens", tokens)
        self.register_buffer("mask", mask)
        self.register_buffer("sizes", torch.tensor(list(sizes), device=tokens.device))
        self._counts = tuple(sizes)  # as plain numbers, which an exported program can be made of

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.pop(f"{prefix}features", None)  # runs of former releases kept text features too
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._counts = tuple(self.sizes.tolist())

    def __len__(self) -> int:
        return len(self.tokens)

    def blocks(self) -> list[range]:
        """The classes of each earlier session."""
        stops = [0, *accumulate(self._counts)]
        return [range(a, b) for a, b in pairwise(stops)]


class Sessions:
    """A method for the classes of each session, with the very tensors that it has learned; made when needed."""

    def __init__(self) -> None:
        self._made: tuple[list[int], list[tuple[Method, range]]] | None = None

    def of(self, method: Method, blocks: Sequence[range]) -> list[tuple[Method, range]]:
        """The method for each block of its classes."""
        tensors = [id(p) for p in method.parameters()]
        traced = torch.compiler.is_compiling()  # then others stand in for them
        if self._made is None or (self._made[0] != tensors and not traced):
            names = method.task.class_names
            own = [method.for_classes(names[block.start : block.stop]) for block in blocks]
            self._made = tensors, list(zip(own, blocks, strict=True))
        return self._made[1]

    def train(self, mode: bool) -> None:
        for method, _ in self._made[1] if self._made is not None else []:
            method.train(mode)

    def __getstate__(self) -> dict[str, object]:
        return {"_made": None}  # known by addresses, which mean nothing in a copy

    @staticmethod
    def joined(features: Sequence[Tensor], blocks: Sequence[range]) -> list[Tensor]:
        """The features of each session's texts, [G, classes of the session, d], side by side: [G, C, d].

        Texts that do not run through the classes are those of the last session.
        """
        if len(blocks) == 1:
            return list(features)
        count = len(features) // len(blocks)
        sizes, found = [len(block) for block in blocks], []
        for i in range(count):
            parts = features[i::count]
            by_class = [part.shape[1] for part in parts] == sizes
            found.append(torch.cat(list(parts), dim=1) if by_class else parts[-1])
        return found


def widen(tokens: Tensor, mask: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Label tokens [C, L, D] and their mask [C, L] with at least `length` places; the added ones are empty."""
    more = max(0, length - tokens.shape[1])
    return F.pad(tokens, (0, 0, 0, more)), F.pad(mask, (0, more))
