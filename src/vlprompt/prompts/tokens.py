"""A prompt is data: the token vectors that a method hands to the towers, or words that the frozen tower reads.

Shapes: G groups of prefixes (1, or one per picture), C classes, P prefix tokens, S suffix tokens,
D text width, W image width, n prompt tokens, J prompt depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class TextPrompt:
    """Text prompts of all classes, without positional embeddings.

    prefix: [G, P, D], [SOS] first; shared by all classes.
    suffix: [C, S, D], what follows it: label tokens, template tail, [EOT]; what lies behind a
        row's [EOT] has no influence.
    lengths: tokens of each suffix, [EOT] included.
    deep: one [n, D] per block 1, 2, ...: replaces positions 1..n of the prefix before that block.
    label_start: where in the suffix the class name begins.
    label_counts: tokens of each class name, as tokenised alone; none: rows that hold no class names.
    repeats: how often the rows run through all classes, in their order (one context after another, or one
        picture after another); features then count as so many times more groups.
    """

    prefix: Tensor
    suffix: Tensor
    lengths: tuple[int, ...]
    deep: Sequence[Tensor] = ()
    label_start: int = 0
    label_counts: tuple[int, ...] = ()
    repeats: int = 1

    @property
    def holds_names(self) -> bool:
        """Whether the rows are those of classes, so that a wrapper may put other vectors in the names' places."""
        return bool(self.label_counts)

    @property
    def learns(self) -> bool:
        """Whether gradients pass through it."""
        return torch.is_grad_enabled() and any(t.requires_grad for t in self.tensors())

    @property
    def groups(self) -> int:
        return self.prefix.shape[0]

    @property
    def classes(self) -> int:
        return self.suffix.shape[0]

    def tensors(self) -> list[Tensor]:
        return [self.prefix, self.suffix, *self.deep]

    def with_suffix(self, suffix: Tensor) -> TextPrompt:
        return replace(self, suffix=suffix)

    def shorten_prefix(self, length: int) -> TextPrompt:
        """The same prompts with the prefix cut to `length` tokens, the rest moved to the suffix.

        Only for G = 1. Exact: where the cut lies has no influence on what is computed.
        """
        moved = self.prefix.shape[1] - length
        if moved <= 0:
            return self
        tail = self.prefix[:, length:].expand(self.classes, -1, -1)
        return replace(
            self,
            prefix=self.prefix[:, :length],
            suffix=torch.cat([tail, self.suffix], dim=1),
            lengths=tuple(n + moved for n in self.lengths),
            label_start=self.label_start + moved,
        )

    def rows(self, index: Sequence[int]) -> TextPrompt:
        """The prompts of some classes."""
        chosen = torch.as_tensor(list(index), device=self.suffix.device)
        return replace(
            self,
            suffix=self.suffix[chosen],
            lengths=tuple(self.lengths[i] for i in index),
            label_counts=tuple(self.label_counts[i] for i in index) if self.label_counts else (),
        )


def join_rows(first: TextPrompt, second: TextPrompt) -> TextPrompt:
    """Both sets of rows behind the one prefix they share, evaluated in one pass."""
    longest = max(first.suffix.shape[1], second.suffix.shape[1])
    parts = [
        torch.nn.functional.pad(p.suffix, (0, 0, 0, longest - p.suffix.shape[1])) for p in (first, second)
    ]
    return replace(
        first,
        suffix=torch.cat(parts),
        lengths=first.lengths + second.lengths,
        label_counts=first.label_counts + second.label_counts,
    )


@dataclass(frozen=True)
class FrozenText:
    """Class names in templates as the frozen text tower reads them: what methods start from or compare with.

    Features: the mean over the templates of unit-length features, of unit length again, [1, C, d]. Wrappers leave it as
    it is. Since it is words, it is computed once for all methods on a backbone.
    """

    class_names: tuple[str, ...]
    templates: tuple[str, ...]


Text = TextPrompt | FrozenText


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """Visual prompts: appended after the patches at block 0, replaced by `deep` before later blocks.

    tokens: [n, W]; deep: one [n, W] per block 1, 2, ...
    """

    tokens: Tensor
    deep: Sequence[Tensor] = ()


@dataclass(frozen=True, eq=False)
class Prompts:
    """What a method asks the towers to evaluate; image None: the tower without prompts."""

    text: TextPrompt
    image: ImagePrompt | None = None


@dataclass(frozen=True, eq=False)
class Output:
    """What the loss sees. image: [B, d]; text: [C, d] or [B, C, d]; logits: [B, C].

    extra: further tensors by name, such as the reference features of LAMM.
    """

    logits: Tensor
    image: Tensor
    text: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)
