"""Texts that do not learn are computed once: the one memo of text features, kept for each backbone.

What is asked for again is found by what it says: a `FrozenText` by its words, a `TextPrompt` by its numbers. So runs of
one process share the features of the names that they have in common, a method in evaluation reads its prompts once and
not for every batch, and what learns on is computed anew, because its numbers are others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from vlprompt.backbones.backbone import Backbone

MOST = 24  # texts that are remembered of a backbone
LARGEST = 512 << 20  # bytes that they may take together, prompts and features


@dataclass(frozen=True, eq=False)
class Known:
    """One text with its features. marks: where its numbers were and how often they had been changed."""

    kind: object
    layout: object
    tensors: tuple[Tensor, ...]
    marks: tuple[tuple[int, int], ...]
    features: Tensor

    @property
    def size(self) -> int:
        return self.features.nbytes + sum(t.nbytes for t in self.tensors)

    def answers(self, kind: object, layout: object, tensors: Sequence[Tensor]) -> bool:
        if kind != self.kind or layout != self.layout:
            return False
        pairs = zip(tensors, self.tensors, self.marks, strict=True)
        return all(own_mark(b) == mark and (a is b or torch.equal(a, b)) for a, b, mark in pairs)


def taken_apart(value: Any, tensors: list[Tensor]) -> object:
    """Everything about a text beside its numbers, which go into `tensors`; whatever fields it has."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return "numbers"
    if is_dataclass(value):
        return type(value), tuple(taken_apart(getattr(value, f.name), tensors) for f in fields(value))
    if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) or is_dataclass(v) for v in value):
        return tuple(taken_apart(one, tensors) for one in value)
    return tuple(value) if isinstance(value, list) else value


def own_mark(tensor: Tensor) -> tuple[int, int]:
    """Changes when the tensor's numbers are written over, or lie elsewhere."""
    return tensor.data_ptr(), tensor._version


class FixedTexts:
    """Answers are exact: every number of a prompt has to be the same. The latest texts are kept."""

    def __init__(self) -> None:
        self.known: list[Known] = []

    @torch.no_grad()
    def find(self, kind: object, text: Any, compute: Callable[[], Tensor]) -> Tensor:
        """The features of a text, computed where they are not known. kind: of what computes them."""
        tensors: list[Tensor] = []
        layout = taken_apart(text, tensors)
        for held in self.known:
            if held.answers(kind, layout, tensors):
                self._keep(held)
                return held.features
        new = Known(kind, layout, tuple(tensors), tuple(own_mark(t) for t in tensors), compute())
        if new.size <= LARGEST:
            self._keep(new)
        return new.features

    def _keep(self, latest: Known) -> None:
        """The latest in front, as many of the others behind it as there is room for."""
        if self.known and self.known[0] is latest:
            return
        kept, size = [latest], latest.size
        for held in self.known:
            size += held.size
            if held is not latest and size <= LARGEST and len(kept) < MOST:
                kept.append(held)
        self.known = kept


_TEXTS: WeakKeyDictionary[Backbone, FixedTexts] = WeakKeyDictionary()


def fixed_texts(backbone: Backbone) -> FixedTexts:
    """The texts that are known of a backbone."""
    return _TEXTS.setdefault(backbone, FixedTexts())
