"""How a blend speaks of classes that it has not learned.

The parts that speak of them have equal shares. Beside them learned classes have an advantage that is not theirs: they are sure of
pictures that show something else (the bias between seen and unseen classes: Chao et al., "An Empirical Study and Analysis of
Generalized Zero-Shot Learning", ECCV 2016, calibrate it by hand), the more pictures they have learned, the surer. So the offset of new
ones grows with the pictures of a class. That an offset which is estimated by leaving classes out does no better is told in
docs/new-names.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

# Added to an offset that is 0 at one picture of each class, with each doubling; chosen as docs/new-names.md tells.
EACH_DOUBLING = 0.25


@dataclass(frozen=True)
class NewNames:
    """weights: of the parts, by name, that speak of new names; offset: of their logits beside learned classes."""

    weights: dict[str, float]
    offset: float


def for_new_names(voices: Sequence[str], pictures: int, classes: int) -> NewNames:
    """voices: parts that speak of new names. pictures: that are learned from, of so many classes."""
    offset = EACH_DOUBLING * log2(max(1.0, pictures / classes))
    return NewNames(dict.fromkeys(voices, 1 / len(voices)), round(offset, 4))
