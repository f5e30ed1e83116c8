"""Which words of the vocabulary lie nearest to learned vectors, and how near that is.

Distances are Euclidean, as in the table of CoOp (Zhou et al., IJCV 2022, section 4.4), whose authors warn that the
words say little. `gap` gives the measure: how far a word itself is from its nearest other word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vlprompt.backbones.backbone import Backbone

GAP_FROM = 256  # words whose nearest neighbours make up the measure
CHUNK = 256  # vectors that are compared with the vocabulary at a time


@dataclass(frozen=True)
class Near:
    """A word and its Euclidean distance from a vector."""

    word: str
    distance: float


class Vocabulary:
    """The whole words of a backbone's vocabulary with their embeddings."""

    def __init__(self, backbone: Backbone) -> None:
        words = backbone.tokenizer.whole_words()
        ids = sorted(i for i in words if i < backbone.text.sizes.vocabulary)
        self.words = [words[i] for i in ids]
        device = backbone.device
        self.vectors: Tensor = backbone.text.embed(
            torch.tensor(ids, dtype=torch.long, device=device)
        ).detach()
        self._row = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    @torch.no_grad()
    def nearest(self, vectors: Tensor, count: int = 3, without: str | None = None) -> list[list[Near]]:
        """The nearest words of each vector, [N, D], nearest first. without: a word that is passed over."""
        found: list[list[Near]] = []
        if not self.words:
            return [[] for _ in vectors]
        for part in vectors.float().split(CHUNK):
            distance = torch.cdist(part, self.vectors, compute_mode="donot_use_mm_for_euclid_dist")
            if without in self._row:
                distance[:, self._row[without]] = torch.inf
            near = distance.topk(min(count, len(self.words)), largest=False)
            for values, rows in zip(near.values.tolist(), near.indices.tolist(), strict=True):
                found.append(
                    [Near(self.words[i], v) for v, i in zip(values, rows, strict=True) if v != torch.inf]
                )
        return found

    def gap(self) -> float:
        """Median distance between a word and its nearest other word."""
        if len(self.words) < 2:
            return 0.0
        step = max(1, len(self.words) // GAP_FROM)
        near = self.nearest(self.vectors[::step], 2)
        return float(torch.tensor([pair[1].distance for pair in near]).median())
