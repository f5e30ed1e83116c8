"""The fast way to evaluate prompts; equal to `prompts/interpreters/plain.py` in values and gradients.

Where the text tower is causal and reads the end token:
1. the prefix runs once per group; its keys and values are kept per block for all classes, up to where vectors of each
   class's own enter it;
2. a suffix ends at its [EOT]; suffixes are packed side by side, nothing is padded to 77 (prompts/interpreters/packing.py).
Where it is not causal: whole rows are packed side by side by length, without padding; where it attends to padding, or a
row grows on its way, rows are whole (`TextTower.encode`). In all of them:
3. the last block computes the positions that are read only (images: the class token);
4. a prefix that does not learn is run once, without gradients (texts that do not: prompts/interpreters/fixed.py);
5. many classes go in chunks under a memory budget, recomputed in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.towers.changes import changed, drops
from vlprompt.backbones.towers.text import TextTower
from vlprompt.backbones.towers.transformer import Block, TransformerSizes, hide
from vlprompt.prompts.interpreters.entering import enter, image_and_inserted, row_features
from vlprompt.prompts.interpreters.packing import Packing
from vlprompt.prompts.tokens import BlockTokens, ImagePrompt, TextPrompt

# keys and values of the prefix per block, each [G, heads, P, width / heads]
States = list[tuple[Tensor, Tensor]]


def prefix_states(tower: TextTower, prefix: Tensor, entering: Sequence[BlockTokens]) -> States:
    """Keys and values of the prefix at every block. prefix: [G, P, D], without positions; it grows where tokens are
    inserted."""
    x = tower.place(prefix)
    states: States = []
    last = len(tower.blocks) - 1
    for i, block in enumerate(tower.blocks):
        x = enter(x, entering, i, tower.form.start)
        if i == last:
            k, v = (block.split_heads(part) for part in block.keys_values(x).chunk(2, dim=-1))
            states.append((k, v))
            break
        q, k, v = (block.split_heads(part) for part in block.project(x).chunk(3, dim=-1))
        states.append((k, v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = block.finish(x, attended.transpose(-3, -2).flatten(-2))
    return states


def attend(q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
    """Suffix tokens attend to their prefix and to their own suffix as far as it is not hidden.

    q: [G, heads, C, Q, e]; k, v: [G, heads, C, L, e]; state: [G, heads, P, e] each.
    hidden: [Q, P + L] or [C, Q, P + L], -inf where a query does not see, else 0.
    Returns [G, heads, C, Q, e].
    """
    if q.device.type == "cpu" and not state[0].shape[-2]:
        scores = q @ k.transpose(-1, -2)
        return torch.add(hidden, scores, alpha=q.shape[-1] ** -0.5).softmax(-1, wide_dtype(v)).to(v.dtype) @ v
    return (_attend_in_parts if q.device.type == "cpu" else _attend_fused)(q, k, v, state, hidden)


def _attend_fused(q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
    """Prefix and suffix side by side for every class, through the fused kernel."""
    groups, _, classes = q.shape[:3]
    keys, values = (
        torch.cat([part[:, :, None].expand(-1, -1, classes, -1, -1), own], dim=-2)
        .transpose(1, 2)
        .flatten(0, 1)
        for part, own in zip(state, (k, v), strict=True)
    )
    mask = hidden if hidden.dim() == 2 else hidden.repeat(groups, 1, 1)[:, None]
    out = F.scaled_dot_product_attention(q.transpose(1, 2).flatten(0, 1), keys, values, attn_mask=mask)
    return out.unflatten(0, (groups, classes)).transpose(1, 2)


def _attend_in_parts(q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
    """The same without a copy of the prefix for every class: one product with the prefix for all of them.

    For CPUs, where the fused kernel gains less than the copies cost, and its backward pass in bf16
    takes longer than all matrix products of the block.
    """
    groups, heads, classes, length, size = q.shape
    shared_k, shared_v = state
    to_prefix = q.reshape(groups, heads, classes * length, size) @ shared_k.transpose(-1, -2)
    own = q @ k.transpose(-1, -2)
    scores = torch.cat([to_prefix.unflatten(2, (classes, length)), own], dim=-1)  # [G, heads, C, Q, P + L]
    weights = torch.add(hidden, scores, alpha=size**-0.5).softmax(dim=-1, dtype=wide_dtype(v)).to(v.dtype)
    prefix = shared_k.shape[-2]
    from_prefix = weights[..., :prefix].reshape(groups, heads, classes * length, prefix) @ shared_v
    return weights[..., prefix:] @ v + from_prefix.unflatten(2, (classes, length))


def wide_dtype(x: Tensor) -> torch.dtype:
    """What weights of attention are computed in: float32, or float64 where the rest is."""
    return torch.promote_types(x.dtype, torch.float32)


def causal_mask(length: int, prefix: int, device: torch.device) -> Tensor:
    """[L, P + L] boolean: a suffix token sees the whole prefix and the suffix up to itself."""
    return torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix)


def own_mask(length: int, stops: Tensor) -> Tensor:
    """[C, 1, L] boolean: a token of a row sees the whole of it, of which there are `stops` tokens, [C]."""
    return torch.arange(length, device=stops.device) < stops[:, None, None]


class _Rows:
    """Packed tokens of some suffixes under each of `groups` prefixes: where they lie, and what each set does not see.

    prefix: tokens of a prefix that go through the blocks beside the others.
    """

    def __init__(
        self, tower: TextTower, lengths: Sequence[int], groups: int, device: torch.device, prefix: int
    ) -> None:
        self.tower, self.groups = tower, groups
        self.packing = Packing(lengths, groups, tower.sizes.heads, device, prefix=prefix)
        self.counts = [len(one.classes) for one in self.packing.sets]
        self.stops = torch.tensor(self.packing.lengths, device=device).split(self.counts)

    def masks(self, ahead: int) -> list[Tensor]:
        """What each set does not see, behind so many tokens of a prefix."""
        sets, device, dtype = self.packing.sets, self.packing.device, self.tower.dtype
        if self.tower.form.causal:
            return [hide(causal_mask(one.length, ahead, device), dtype) for one in sets]
        return [hide(own_mask(one.length, stop), dtype) for one, stop in zip(sets, self.stops, strict=True)]

    def part(self, x: Tensor, start: int) -> tuple[_Rows, Tensor]:
        """The same tokens where each class has the prefix's behind the first `start` as rows of its own."""
        old = self.packing
        own = old.prefix - start
        lengths = [0] * len(old.order)
        for c, length in zip(old.order, old.lengths, strict=True):
            lengths[c] = own + length
        rows = _Rows(self.tower, lengths, self.groups, old.device, start)
        new = rows.packing
        assert new.order == old.order  # all are longer by the same
        shared = list(range(start, old.prefix))
        places = list(range(start))
        for first, length in zip(old.starts.tolist(), old.lengths, strict=True):
            places += shared + list(range(first, first + length))
        index = torch.tensor(places, device=old.device)
        x = x.unflatten(0, (self.groups, -1)).index_select(1, index)
        return rows, x.flatten(0, 1)


def text_features(
    tower: TextTower,
    states: States | None,
    prefix: Tensor,
    entering: Sequence[BlockTokens],
    suffix: Tensor,
    lengths: Sequence[int],
    inside: bool = False,
) -> Tensor:
    """Text features [G, C, d] of suffixes [C, S, D] behind prefixes [G, P, D].

    states: of the prefixes, if they are known, with all that enters them; if not, the tokens of the prefixes go through
    the blocks beside the others, as far as they are the same for all classes: up to the first block before which vectors
    of each class's own enter. inside: what enters does so in the rows of the suffixes, which have the place for it.
    """
    (groups, length), heads, form = prefix.shape[:2], tower.sizes.heads, tower.form
    device, dtype = suffix.device, tower.dtype
    positions = tower.positional_embedding
    beside = states is None and not inside
    rows = _Rows(tower, lengths, groups, device, length if beside else 0)
    x = rows.packing.pack(suffix, positions[length:], prefix + positions[:length] if beside else None)
    x = tower.ln_embedding(x)
    parting = min((one.block for one in entering if one.own), default=-1) if beside else -1
    nothing = x.new_zeros(groups, heads, 0, x.shape[-1] // heads, dtype=dtype)
    known, ahead = rows.masks(length), length

    def entered(x: Tensor, i: int) -> Tensor:
        if beside and not inside:
            return enter(x.unflatten(0, (groups, -1)), entering, i, form.start).flatten(0, 1)
        for one in entering if inside else ():
            if one.block == i:
                x = rows.packing.overwrite(x, form.start - ahead, one.values, one.weight)
        return x

    def mixed(block: Block, x: Tensor, i: int) -> Tensor:
        """What attention gives every token. What that was made from is not held any longer."""
        nonlocal known, ahead
        parts = rows.packing.spread(block.project(x), 3)
        attended = []
        state = nothing, nothing
        if beside:
            (q, k, v), *parts = parts
            attended.append(
                F.scaled_dot_product_attention(q[:, :, 0], k[:, :, 0], v[:, :, 0], is_causal=True)
            )
            state = k[:, :, 0], v[:, :, 0]
        elif states is not None:
            state = states[i]
            if state[0].shape[-2] != ahead:  # tokens were inserted
                ahead = state[0].shape[-2]
                known = rows.masks(ahead)
        attended += [attend(q, k, v, state, mask) for (q, k, v), mask in zip(parts, known, strict=True)]
        return rows.packing.gather(attended)

    for i, block in enumerate(tower.blocks):
        if i == parting:
            rows, x = rows.part(x, form.start)
            known, ahead, inside = rows.masks(form.start), form.start, True
        x = entered(x, i)
        if i == len(tower.blocks) - 1 and form.read != "mean":
            break
        x = block.finish(x, mixed(block, x, i))

    packing, counts, stops = rows.packing, rows.counts, rows.stops
    back = torch.tensor(packing.order, device=device).argsort()
    if form.read == "mean":
        return tower.read_out(packing.means(x))[:, back]
    block = tower.blocks[-1]
    parts = packing.spread(block.keys_values(x), 2)
    state = nothing, nothing
    if beside:
        (k, v), *parts = parts
        state = k[:, :, 0], v[:, :, 0]
    elif states is not None:
        state = states[-1]
    ahead = state[0].shape[-2]
    x = x.unflatten(0, (groups, -1))
    read = x[
        :, packing.starts if form.read == "first" else packing.ends
    ]  # [G, C, D], in the order of the packing
    queries = block.split_heads(block.queries(read)).split(counts, dim=2)  # each [G, heads, C, e]
    attended = []
    for one, (k, v), q, stop in zip(packing.sets, parts, queries, stops, strict=True):
        seen = torch.arange(ahead + one.length, device=device) < ahead + stop[:, None]
        attended.append(attend(q[..., None, :], k, v, state, hide(seen[:, None], dtype))[..., 0, :])
    found = torch.cat(attended, dim=2).transpose(1, 2).flatten(-2)  # [G, C, D]
    return tower.read_out(block.finish(read, found))[:, back]


def whole_rows(prompt: TextPrompt) -> TextPrompt:
    """The same texts as rows without a prefix, those of one prefix after those of another."""
    ahead, groups = prompt.prefix.shape[1], prompt.groups
    suffix = prompt.suffix[:, : max(prompt.lengths)]
    rows = [
        prompt.prefix[:, None].expand(-1, prompt.classes, -1, -1),
        suffix[None].expand(groups, -1, -1, -1),
    ]
    return replace(
        prompt,
        prefix=prompt.prefix[:1, :0],
        suffix=torch.cat(rows, dim=2).flatten(0, 1),
        lengths=tuple(ahead + n for n in prompt.lengths) * groups,
        label_start=0,
        label_counts=(),
    )


def bytes_per_token(sizes: TransformerSizes) -> int:
    """Memory that one token holds until the backward pass, in bytes (float32, frozen weights)."""
    return 4 * sizes.layers * (10 * sizes.width + 2 * sizes.mlp_width)


class Fast:
    """Interpreter of prompts that computes nothing twice.

    budget: bytes that text activations may take in one step; beyond it classes go in chunks that
    are recomputed in the backward pass.
    """

    kept_as: str | None = "fast"

    def __init__(self, backbone: Backbone, budget: int = 4 << 30) -> None:
        self.backbone = backbone
        self.budget = budget
        self._kept: dict[object, tuple[object, Any, object]] = {}

    def text(self, prompt: TextPrompt) -> Tensor:
        """Unit-length text features of every class under every prefix, [G, C, d], by the way that suits the tower and what
        enters it."""
        tower, entering = changed(self.backbone.text, prompt.changes), prompt.entering()
        grows, own = any(one.insert for one in entering), any(one.own for one in entering)
        dropping = drops(prompt.changes)  # from each row by itself, so that rows share nothing
        if tower.form.shares_prefix and prompt.prefix.shape[1] and not dropping:
            if not own:
                return self._behind_prefixes(tower, prompt, grows)
            if prompt.start and not grows:
                return self._in_chunks(
                    prompt,
                    lambda part: text_features(
                        tower, None, part.prefix, part.entering(), part.suffix, part.lengths
                    ),
                )
        if tower.form.padded:
            return self._in_chunks(
                prompt, lambda part: row_features(self.backbone.text, part), tower.sizes.context_length
            )
        if grows or dropping or not (tower.form.packs or tower.form.shares_prefix):
            return self._in_chunks(
                prompt, lambda part: row_features(self.backbone.text, part), prompt.prefix.shape[1]
            )
        rows = whole_rows(prompt)
        found = self._in_chunks(
            rows,
            lambda part: text_features(
                tower, None, part.prefix, part.entering(), part.suffix, part.lengths, inside=True
            ),
        )
        return found[0].unflatten(0, (prompt.groups, -1))

    def _behind_prefixes(self, tower: TextTower, prompt: TextPrompt, grows: bool) -> Tensor:
        """Prefixes run once, for all classes."""
        entering = prompt.entering()
        changed = [t for change in prompt.changes for t in change.tensors()]
        tensors = [prompt.prefix, *(one.values for one in entering), *changed]
        chunks = self._chunks(prompt)
        states = None
        if not any(t.requires_grad for t in tensors):
            # the same vectors may enter elsewhere: where they do is part of what is kept
            where = tuple((one.block, one.insert, one.weight) for one in entering)
            kind = "states", where, tuple((change.block, change.matrix) for change in prompt.changes)
            states = self._keep(kind, tensors, lambda: prefix_states(tower, prompt.prefix, entering))
        elif grows or not torch.is_grad_enabled() or len(chunks) > 1:
            # else beside the others, where that is fastest; what is scored and served has the same bits
            states = prefix_states(tower, prompt.prefix, entering)
        return self._in_chunks(
            prompt,
            lambda part: text_features(tower, states, part.prefix, entering, part.suffix, part.lengths),
        )

    def _in_chunks(
        self, prompt: TextPrompt, compute: Callable[[TextPrompt], Tensor], more: int = 0
    ) -> Tensor:
        """What `compute` gives, [G, C, d], for chunks of classes that fit the budget. more: tokens that a class has beside
        its own."""
        chunks = self._chunks(prompt, more)
        if len(chunks) == 1:
            return compute(prompt)
        features = []
        for chunk in chunks:
            part = prompt.rows(chunk)
            if torch.is_grad_enabled() and any(t.requires_grad for t in prompt.tensors()):
                features.append(checkpoint(compute, part, use_reentrant=False))
            else:
                features.append(compute(part))
        back = torch.tensor([c for chunk in chunks for c in chunk], device=prompt.suffix.device).argsort()
        return torch.cat(features, dim=1)[:, back]

    def _chunks(self, prompt: TextPrompt, more: int = 0) -> list[list[int]]:
        """Classes in chunks whose activations fit the budget, similar lengths together."""
        per_token = bytes_per_token(self.backbone.text.sizes) * prompt.groups
        if (sum(prompt.lengths) + more * prompt.classes) * per_token <= self.budget:
            return [list(range(prompt.classes))]
        order = sorted(range(prompt.classes), key=lambda c: prompt.lengths[c])
        chunks: list[list[int]] = [[]]
        used = 0
        for c in order:
            cost = (prompt.lengths[c] + more) * per_token
            if chunks[-1] and used + cost > self.budget:
                chunks.append([])
                used = 0
            chunks[-1].append(c)
            used += cost
        return chunks

    def __getstate__(self) -> dict[str, object]:
        """Without what is kept: it is known by addresses in memory, which mean nothing in another process."""
        return self.__dict__ | {"_kept": {}}

    def _keep(self, kind: object, tensors: Sequence[Tensor], compute: Callable[[], Any]) -> Any:
        """The last result of its kind, as long as its tensors are the same and unchanged."""
        key = tuple((t.data_ptr(), t._version, t.shape) for t in tensors)
        held = self._kept.get(kind)
        if held is not None and held[0] == key:
            return held[1]
        with torch.no_grad():
            value = compute()
        # the tensors are kept with the result so that their addresses cannot be given to others
        self._kept[kind] = (key, value, tuple(tensors))
        return value

    def image(self, pixels: Tensor, prompt: ImagePrompt | None = None) -> Tensor:
        """Unit-length image features, [B, 3, H, W] -> [B, d]; pictures in parts that fit the budget."""
        if prompt is not None:
            return self.image_and_inserted(pixels, prompt)[0]
        with torch.no_grad():
            return torch.cat(
                [self.backbone.image(part) for part in pixels.split(self._pictures(FORWARD_SHARE))]
            )

    def image_and_inserted(self, pixels: Tensor, prompt: ImagePrompt) -> tuple[Tensor, Tensor]:
        """Features [B, d], and the normed last states of inserted tokens, [B, n, W]."""
        tower = self.backbone.vit
        if not torch.is_grad_enabled():
            parts = torch.arange(len(pixels)).split(self._pictures(FORWARD_SHARE))
            found = [image_and_inserted(tower, prompt.pictures(part), pixels[part]) for part in parts]
        else:
            parts = torch.arange(len(pixels)).split(self._pictures(1.0))
            if len(parts) == 1:
                return image_and_inserted(tower, prompt, pixels)
            found = [
                checkpoint(
                    image_and_inserted, tower, prompt.pictures(part), pixels[part], use_reentrant=False
                )
                for part in parts
            ]
        return torch.cat([one[0] for one in found]), torch.cat([one[1] for one in found])

    def _pictures(self, share: float) -> int:
        """How many pictures fit the budget at once."""
        sizes = self.backbone.image_sizes
        if sizes is None:
            return 64
        return max(1, int(self.budget / (share * self.backbone.image_tokens * bytes_per_token(sizes))))


FORWARD_SHARE = 0.1  # of what a picture holds for the backward pass, needed without one
