"""Where the tokens of suffixes lie: packed side by side where each token is alone, padded where they attend.

Layer norms and matrix products of the towers treat every token alone: there the tokens of all classes are rows of
one matrix and nothing is padded. Attention wants classes of one length: there classes of similar length are padded
to a common one. One gather leads from the first form, split into heads, to the second, and one leads back; they
also sort the tokens by head, so that products with what all classes share are single matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

MOST_PADDING = 1.25  # padded tokens for one token, before classes are split into more sets


@dataclass(frozen=True)
class PaddedSet:
    """Classes that attention treats together. length: of the longest suffix."""

    classes: tuple[int, ...]
    length: int


def padded_sets(lengths: Sequence[int], most_padding: float = MOST_PADDING) -> list[PaddedSet]:
    """Every class in one set, shorter ones first; no set has more than `most_padding` places for a token."""
    sets: list[PaddedSet] = []
    members: list[int] = []
    tokens = 0
    for c in sorted(range(len(lengths)), key=lambda c: lengths[c]):
        if members and (len(members) + 1) * lengths[c] > most_padding * (tokens + lengths[c]):
            sets.append(PaddedSet(tuple(members), lengths[members[-1]]))
            members, tokens = [], 0
        members.append(c)
        tokens += lengths[c]
    return [*sets, PaddedSet(tuple(members), lengths[members[-1]])]


class Packing:
    """Index tensors for the suffixes of some classes, the same under each of `groups` prefixes.

    Rows of packed tokens: group after group, in each the prefix, if its tokens are rows too, then the classes in the
    order of the sets, `order`. The prefix then is a set of its own, the first, with one class.
    """

    def __init__(
        self, lengths: Sequence[int], groups: int, heads: int, device: torch.device, prefix: int = 0
    ) -> None:
        self.sets = padded_sets(lengths)
        self.order = [c for one in self.sets for c in one.classes]
        self.groups, self.heads, self.device, self.prefix = groups, heads, device, prefix
        self.lengths = [lengths[c] for c in self.order]
        self.tokens = prefix + sum(self.lengths)  # of a group
        starts = list(accumulate(self.lengths, initial=prefix))[:-1]
        self.starts = torch.tensor(starts, device=device)  # of each class, in the order of the sets
        self.ends = self.starts + torch.tensor(self.lengths, device=device) - 1
        self._token: list[
            Tensor
        ] = []  # per set, [C, L]: the token that stands in each place, a real one in padding too
        self._real: list[Tensor] = []  # per set, [C, L]
        self._place: list[Tensor] = []  # per set, [tokens of the set]: the place of each token
        at = 0
        if prefix:
            self._token.append(torch.arange(prefix, device=device)[None])
            self._real.append(torch.ones(1, prefix, dtype=torch.bool, device=device))
            self._place.append(torch.arange(prefix, device=device))
        for one in self.sets:
            own = slice(at, at + len(one.classes))
            first = torch.tensor(starts[own], device=device)[:, None]
            length = torch.tensor(self.lengths[own], device=device)[:, None]
            position = torch.arange(one.length, device=device)
            self._token.append(first + position.minimum(length - 1))
            self._real.append(position < length)
            places = torch.tensor(
                [j * one.length + p for j, n in enumerate(self.lengths[own]) for p in range(n)], device=device
            )
            self._place.append(places)
            at = own.stop
        self._inward: dict[int, tuple[Tensor, Tensor]] = {}
        self._outward: tuple[Tensor, Tensor] | None = None

    def pack(self, suffix: Tensor, positions: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Suffixes [C, S, D] plus positions [>= S, D] (and a prefix [G, P, D] with them) -> packed tokens [rows, D]."""
        places, count = suffix.shape[1], sum(self.lengths)
        offsets = [p for n in self.lengths for p in range(n)]
        source = [c * places + p for c, n in zip(self.order, self.lengths, strict=True) for p in range(n)]
        into = [count] * (len(suffix) * places)
        for row, where in enumerate(source):
            into[where] = row
        index, back = (torch.tensor(rows, device=self.device) for rows in (source, into))
        found = take(suffix.flatten(0, 1), index, back)
        x = (found + positions[torch.tensor(offsets, device=self.device)]).expand(self.groups, -1, -1)
        return (x if prefix is None else torch.cat([prefix, x], dim=1)).reshape(-1, x.shape[-1])

    def overwrite(self, packed: Tensor, at: int, values: Tensor, weight: float) -> Tensor:
        """Packed tokens [groups tokens, D] with n of every class from its position `at` on changed to `values`.

        values: [n, D], or [C, n, D] with each class's own (classes may repeat them, in their order). weight: their share.
        """
        n = values.shape[-2]
        rows = self.starts[:, None] + at + torch.arange(n, device=self.device)  # [C, n]
        group = torch.arange(self.groups, device=self.device)[:, None, None] * self.tokens
        index = (group + rows).flatten()
        if values.dim() == 3:
            values = values[torch.tensor(self.order, device=self.device) % len(values)]
        new = values.expand(self.groups, len(self.order), -1, -1).reshape(len(index), -1)
        if weight != 1.0:
            new = weight * new + (1 - weight) * packed[index]
        return packed.index_copy(0, index, new.to(packed.dtype))

    def means(self, packed: Tensor) -> Tensor:
        """The mean over each class's tokens, [groups, C, D], in the order of the sets. Not with a prefix among them."""
        x = packed.unflatten(0, (self.groups, self.tokens))
        count = torch.tensor(self.lengths, device=self.device)
        owner = torch.arange(len(count), device=self.device).repeat_interleave(count)
        sums = x.new_zeros(self.groups, len(count), x.shape[-1]).index_add(1, owner, x)
        return sums / count[:, None]

    def spread(self, packed: Tensor, parts: int) -> list[tuple[Tensor, ...]]:
        """Packed tokens [groups tokens, parts heads e] -> for each set, its parts [G, heads, C, L, e]."""
        if parts not in self._inward:
            self._inward[parts] = self._to_places(parts)
        rows = take(
            packed.reshape(-1, packed.shape[-1] // (parts * self.heads)), *self._inward[parts], whole=True
        )
        sizes = [parts * self.groups * self.heads * t.numel() for t in self._token]
        return [
            piece.view(parts, self.groups, self.heads, *token.shape, -1).unbind(0)
            for piece, token in zip(rows.split(sizes), self._token, strict=True)
        ]

    def gather(self, attended: Sequence[Tensor]) -> Tensor:
        """What attention gave for each set, [G, heads, C, L, e] -> packed tokens [groups tokens, heads e]."""
        if self._outward is None:
            self._outward = self._to_tokens()
        size = attended[0].shape[-1]
        rows = (
            torch.cat([part.reshape(-1, size) for part in attended])
            if len(attended) > 1
            else attended[0].reshape(-1, size)
        )
        return take(rows, *self._outward).view(-1, self.heads * size)

    def _to_places(self, parts: int) -> tuple[Tensor, Tensor]:
        """Rows (token, part, head) -> rows (set, part, group, head, class, position), and back."""
        group, head, part = (torch.arange(n, device=self.device) for n in (self.groups, self.heads, parts))
        rows, back, offset = [], [], 0
        for token, place in zip(self._token, self._place, strict=True):
            source = (group[:, None, None] * self.tokens + token) * parts + part[
                :, None, None, None
            ]  # [parts, G, C, L]
            rows.append((source[:, :, None] * self.heads + head[:, None, None]).flatten())
            block = (
                part[:, None] * self.groups + group[:, None, None, None]
            ) * self.heads + head  # [G, 1, parts, heads]
            back.append(offset + block * token.numel() + place[:, None, None])
            offset = offset + parts * self.groups * self.heads * token.numel()
        return torch.cat(rows), torch.cat(back, dim=1).flatten()

    def _to_tokens(self) -> tuple[Tensor, Tensor]:
        """Rows (set, group, head, class, position) -> rows (token, head), and back; padding goes nowhere."""
        group, head = (torch.arange(n, device=self.device) for n in (self.groups, self.heads))
        rows, back, offset = [], [], 0
        nowhere = self.groups * self.tokens * self.heads
        for token, real, place in zip(self._token, self._real, self._place, strict=True):
            block = group[:, None, None] * self.heads + head  # [G, 1, heads]
            rows.append(offset + block * token.numel() + place[:, None])
            target = (group[:, None, None, None] * self.tokens + token) * self.heads + head[:, None, None]
            back.append(torch.where(real, target, nowhere).flatten())
            offset = offset + self.groups * self.heads * token.numel()
        return torch.cat(rows, dim=1).flatten(), torch.cat(back)


def take(rows: Tensor, index: Tensor, back: Tensor, whole: bool = False) -> Tensor:
    """rows[index] for [N, D], of which each that is needed is needed once: its gradient is a gather too.

    back: [N], where in the result the gradient of a row comes from; the length of the result if from nowhere.
    whole: no row's is from nowhere.
    """
    if torch.is_grad_enabled() and rows.requires_grad:
        return _Take.apply(rows, index, back, whole)
    return rows.index_select(0, index)


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, back: Tensor, whole: bool) -> Tensor:
        ctx.save_for_backward(back)
        ctx.whole = whole
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (back,), (gradient,) = ctx.saved_tensors, gradients
        if not ctx.whole:
            gradient = torch.cat([gradient, gradient.new_zeros(1, gradient.shape[-1])])
        return gradient.index_select(0, back), None, None, None
