"""Classes that were learned earlier and do not change any more: what LAMM keeps of them when others arrive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeptClasses(nn.Module):
    """Buffers, so that they are saved and never trained.

    tokens: [K, L, D] label tokens of the K classes; mask: [K, L], which of them a class has.
    sizes: [S], how many classes each earlier session brought; their sum is K.
    features: [K, d], unit length, the text features as they were when the classes were learned; [0, d]
        for methods whose text features depend on the picture.
    """

    tokens: Tensor
    mask: Tensor
    sizes: Tensor
    features: Tensor

    def __init__(self, tokens: Tensor, mask: Tensor, sizes: Sequence[int], features: Tensor) -> None:
        super().__init__()
        self.register_buffer("tokens", tokens)
        self.register_buffer("mask", mask)
        self.register_buffer("sizes", torch.tensor(list(sizes), device=tokens.device))
        self.register_buffer("features", features)
        self._counts = tuple(sizes)  # as plain numbers, which an exported program can be made of

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._counts = tuple(self.sizes.tolist())

    def __len__(self) -> int:
        return len(self.tokens)

    def blocks(self) -> list[range]:
        """The classes of each earlier session."""
        stops = [0, *accumulate(self._counts)]
        return [range(a, b) for a, b in pairwise(stops)]


def widen(tokens: Tensor, mask: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Label tokens [C, L, D] and their mask [C, L] with at least `length` places; the added ones are empty."""
    more = max(0, length - tokens.shape[1])
    return F.pad(tokens, (0, 0, 0, more)), F.pad(mask, (0, more))
