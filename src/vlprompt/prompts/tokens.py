"""A prompt is data: the token vectors that a method hands to the towers, or words that the frozen tower reads.

Shapes: G groups of prefixes (1, or one per picture), C classes, P prefix tokens, S suffix tokens,
D text width, W image width, n prompt tokens, J prompt depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vlprompt.backbones.towers.changes import MatrixChange


@dataclass(frozen=True, eq=False)
class BlockTokens:
    """Vectors that enter a tower before one of its blocks, directly behind the start token (images: the class token).

    values: [n, D]; for texts also [C, n, D], vectors of each class's own (where rows repeat the classes, in that order).
    block: number of the block, from 0. At block 0 they enter as they are: without positions, past any first norm.
    insert: the sequence grows by n; if not, they overwrite the n positions there.
    weight: share of the vectors where they overwrite; 1 - weight remains of what stood there.
    """

    values: Tensor
    block: int
    insert: bool = False
    weight: float = 1.0

    @property
    def own(self) -> bool:
        """Whether each class has vectors of its own."""
        return self.values.dim() == 3


def deep_tokens(deep: Sequence[Tensor]) -> list[BlockTokens]:
    """One [n, D] for each of the blocks 1, 2, ... as tokens that overwrite."""
    return [BlockTokens(values, block) for block, values in enumerate(deep, 1)]


@dataclass(frozen=True, eq=False)
class TextPrompt:
    """Text prompts of all classes, without positional embeddings.

    prefix: [G, P, D], shared by all classes; its first `start` tokens are the start token, if the tower has one.
    suffix: [C, S, D], what follows it: label tokens, template tail, [EOT]; what lies behind a
        row's [EOT] has no influence.
    lengths: tokens of each suffix, [EOT] included.
    deep: one [n, D] per block 1, 2, ...: replaces n positions behind the start token before that block.
    label_start: where in the suffix the class name begins.
    label_counts: tokens of each class name, as tokenised alone; none: rows that hold no class names.
    repeats: how often the rows run through all classes, in their order (one context after another, or one
        picture after another); features then count as so many times more groups.
    start: tokens before the place of learned ones: 1, or 0 for a tower that begins with the text itself.
    inner: further vectors that enter before blocks, after `deep` where both name a block.
    changes: of the attention matrices that read it, small and learned; what they do not see is said for each row.
    """

    prefix: Tensor
    suffix: Tensor
    lengths: tuple[int, ...]
    deep: Sequence[Tensor] = ()
    label_start: int = 0
    label_counts: tuple[int, ...] = ()
    start: int = 1
    inner: Sequence[BlockTokens] = ()
    changes: Sequence[MatrixChange] = ()
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
        changed = (t for change in self.changes for t in change.tensors())
        return [self.prefix, self.suffix, *self.deep, *(one.values for one in self.inner), *changed]

    def entering(self) -> list[BlockTokens]:
        """All vectors that enter before blocks, in the order in which they do."""
        return sorted([*deep_tokens(self.deep), *self.inner], key=lambda one: one.block)

    def with_context(self, context: Tensor, instead: int | None = None) -> TextPrompt:
        """The same with learned vectors behind the start token, [n, D], or [G, n, D] with one prefix for each.

        instead: how many tokens of the prefix they replace; all behind the start token if not given.
        """
        groups = context if context.dim() == 3 else context[None]
        prefix = self.prefix.expand(groups.shape[0], -1, -1)
        rest = prefix[:, prefix.shape[1] if instead is None else self.start + instead :]
        return replace(self, prefix=torch.cat([prefix[:, : self.start], groups, rest], dim=1))

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
        inner = [
            replace(one, values=one.values[chosen % len(one.values)]) if one.own else one
            for one in self.inner
        ]
        return replace(
            self,
            suffix=self.suffix[chosen],
            inner=inner,
            changes=[change.rows(chosen) for change in self.changes],
            lengths=tuple(self.lengths[i] for i in index),
            label_counts=tuple(self.label_counts[i] for i in index) if self.label_counts else (),
        )


def join_rows(first: TextPrompt, second: TextPrompt) -> TextPrompt:
    """Both sets of rows behind the one prefix they share, evaluated in one pass.

    Vectors of each class's own are those of `first`, repeated for the rows of `second`.
    """
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

    Features: the mean over the templates of unit-length features, of unit length again, [1, C, d]. unit_first: if not,
    the mean is of features as the projection gives them. Wrappers leave it as it is. Since it is words, it is computed once for all methods on a backbone.
    """

    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    unit_first: bool = True


Text = TextPrompt | FrozenText


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """Visual prompts: appended after the patches at block 0, replaced by `deep` before later blocks; or inserted.

    tokens: [n, W], through the tower's first norm; None: nothing is appended. deep: one [n, W] per block 1, 2, ...
    inner: vectors that enter behind the class token (before the patches, if there is none).
    changes: of the attention matrices, small and learned; what they do not see is said for each picture.
    """

    tokens: Tensor | None = None
    deep: Sequence[Tensor] = ()
    inner: Sequence[BlockTokens] = ()
    changes: Sequence[MatrixChange] = ()

    def tensors(self) -> list[Tensor]:
        first = [] if self.tokens is None else [self.tokens]
        changed = (t for change in self.changes for t in change.tensors())
        return [*first, *self.deep, *(one.values for one in self.inner), *changed]

    def pictures(self, index: Tensor) -> ImagePrompt:
        """The same for some pictures of the batch."""
        return replace(self, changes=[change.rows(index) for change in self.changes])

    def with_tensors(self, tensors: Sequence[Tensor]) -> ImagePrompt:
        """The same with other values, in the order of `tensors`."""
        left = list(tensors)
        tokens = None if self.tokens is None else left.pop(0)
        deep = [left.pop(0) for _ in self.deep]
        inner = [replace(one, values=left.pop(0)) for one in self.inner]
        changes = [
            replace(one, down=left.pop(0), up=left.pop(0), kept=None if one.kept is None else left.pop(0))
            for one in self.changes
        ]
        return ImagePrompt(tokens, deep, inner, changes)

    def inserted(self, blocks: int) -> int:
        """How many tokens stand behind the class token at the end of a tower of so many blocks."""
        return sum(len(one.values) for one in self.inner if one.insert and one.block < blocks)

    @property
    def count(self) -> int:
        """Tokens that a tower has beside its own, at most."""
        return (0 if self.tokens is None else len(self.tokens)) + self.inserted(1 << 30)


@dataclass(frozen=True, eq=False)
class Prompts:
    """What `Method.prompts` gave before there were `see` and `texts`; image None: the tower without prompts."""

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
