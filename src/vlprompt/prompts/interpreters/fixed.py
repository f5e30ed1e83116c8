"""Texts that do not learn are computed once: the one memo of text features, kept for each backbone.

What is asked for again is found by what it says: a `FrozenText` by its words, a `TextPrompt` by its numbers. So runs of
one process share the features of the names that they have in common, a method in evaluation reads its prompts once and
not for every batch, and what learns on is computed anew, because its numbers are others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.prompts.tokens import FrozenText, TextPrompt

MOST = 24  # texts that are remembered of a backbone
LARGEST = 512 << 20  # bytes that they may take together, prompts and features


@dataclass(frozen=True, eq=False)
class Known:
    """One text with its features. marks: where its numbers were and how often they had been changed."""

    kind: object
    text: FrozenText | TextPrompt
    marks: tuple[tuple[int, int], ...]
    features: Tensor

    @property
    def size(self) -> int:
        held = self.text.tensors() if isinstance(self.text, TextPrompt) else []
        return self.features.nbytes + sum(t.nbytes for t in held)

    def answers(self, kind: object, text: FrozenText | TextPrompt) -> bool:
        if kind != self.kind:
            return False
        if isinstance(text, FrozenText) or isinstance(self.text, FrozenText):
            return text == self.text
        if layout(text) != layout(self.text):
            return False
        if len(text.tensors()) != len(self.marks):
            return False
        pairs = zip(text.tensors(), self.text.tensors(), self.marks, strict=True)
        return all(own_mark(b) == mark and (a is b or torch.equal(a, b)) for a, b, mark in pairs)


def layout(text: TextPrompt) -> object:
    """Everything about a prompt beside its numbers."""
    changes = [(one.block, one.matrix, one.share, one.kept is None) for one in text.changes]
    return text.lengths, text.start, [(one.block, one.insert, one.weight) for one in text.entering()], changes


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
        for held in self.known:
            if held.answers(kind, text):
                self._keep(held)
                return held.features
        tensors = text.tensors() if isinstance(text, TextPrompt) else []
        new = Known(kind, text, tuple(own_mark(t) for t in tensors), compute())
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
