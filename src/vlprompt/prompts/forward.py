"""The fast way to evaluate prompts; equal to `clip/plain.py` in values and gradients.

Exact because the text mask is causal:
1. the prefix runs once per group; its keys and values are kept per block for all classes;
2. a suffix ends at its [EOT]; suffixes are packed side by side, nothing is padded to 77;
3. the last block computes the [EOT] position (image: the class token) only;
4. prompts that do not learn are evaluated once per run, without gradients;
5. many classes go in chunks under a memory budget, recomputed in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vlprompt.clip.backbone import Backbone
from vlprompt.clip.towers import Block, ImageTower, TextTower, TransformerSizes
from vlprompt.prompts.tokens import ImagePrompt, TextPrompt

States = list[tuple[Tensor, Tensor]]  # keys and values of the prefix per block, each [G, heads, P, width / heads]


@dataclass(frozen=True)
class Bucket:
    """Classes whose suffixes have the same length (or are padded to it)."""

    classes: tuple[int, ...]
    length: int


def buckets(lengths: Sequence[int], limit: int) -> list[Bucket]:
    """Groups classes by suffix length into at most `limit` buckets, merging where padding costs least."""
    by_length: dict[int, list[int]] = {}
    for i, length in enumerate(lengths):
        by_length.setdefault(length, []).append(i)
    groups = sorted(by_length.items())
    while len(groups) > limit:
        cost = [len(a[1]) * (b[0] - a[0]) for a, b in pairwise(groups)]
        i = cost.index(min(cost))
        groups[i : i + 2] = [(groups[i + 1][0], groups[i][1] + groups[i + 1][1])]
    return [Bucket(tuple(members), length) for length, members in groups]


def bucket_limit(device: torch.device) -> int:
    """Many exact buckets on a CPU, where padding costs; few on a GPU, where launches do."""
    return 64 if device.type == "cpu" else 4


def prefix_states(tower: TextTower, prefix: Tensor, deep: Sequence[Tensor]) -> States:
    """Keys and values of the prefix at every block. prefix: [G, P, D], without positions."""
    x = prefix + tower.positional_embedding[: prefix.shape[1]]
    states: States = []
    last = len(tower.blocks) - 1
    for i, block in enumerate(tower.blocks):
        if 1 <= i <= len(deep):
            x = torch.cat([x[:, :1], deep[i - 1].expand(len(x), -1, -1), x[:, 1 + len(deep[i - 1]) :]], dim=1)
        if i == last:
            k, v = (block.split_heads(part) for part in block.keys_values(x).chunk(2, dim=-1))
            states.append((k, v))
            break
        q, k, v = (block.split_heads(part) for part in block.project(x).chunk(3, dim=-1))
        states.append((k, v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = block.mlp(x + block.out(attended.transpose(-3, -2).flatten(-2)))
    return states


def attend(q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
    """Suffix tokens attend to their prefix and, causally, to their own suffix.

    q: [G, C, heads, Q, e]; k, v: [G, C, heads, L, e]; state: [G, heads, P, e] each.
    Returns [G, C, Q, heads e].
    """
    if q.device.type == "cpu":
        return _attend_in_parts(q, k, v, state, mask)
    groups, classes = q.shape[:2]
    keys, values = (
        torch.cat([part[:, None].expand(-1, classes, -1, -1, -1), own], dim=-2).flatten(0, 1)
        for part, own in zip(state, (k, v), strict=True)
    )
    out = F.scaled_dot_product_attention(q.flatten(0, 1), keys, values, attn_mask=mask)
    return out.transpose(1, 2).flatten(-2).unflatten(0, (groups, classes))


def _attend_in_parts(q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
    """The same without a copy of the prefix for every class: one product with the prefix for all of them.

    For CPUs, where the fused kernel gains less than the copies cost, and its backward pass in bf16
    takes longer than all matrix products of the block.
    """
    groups, classes, heads, length, size = q.shape
    shared_k, shared_v = state
    # heads before classes: then all tokens of a head are one matrix, and nothing is copied twice
    q, k, v = (part.transpose(1, 2) for part in (q * size**-0.5, k, v))
    flat = q.reshape(groups, heads, classes * length, size)
    to_prefix = (flat @ shared_k.transpose(-1, -2)).unflatten(2, (classes, length))
    own = flat.unflatten(2, (classes, length)) @ k.transpose(-1, -2)
    scores = torch.cat([to_prefix, own], dim=-1)  # [G, heads, C, Q, P + L]
    if mask is not None:
        seen = mask if mask.dim() == 2 else mask.unflatten(0, (groups, classes)).transpose(1, 2)
        scores = scores.masked_fill(~seen, float("-inf"))
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
    prefix = shared_k.shape[-2]
    from_prefix = weights[..., :prefix].reshape(groups, heads, classes * length, prefix) @ shared_v
    out = weights[..., prefix:] @ v + from_prefix.unflatten(2, (classes, length))
    return out.permute(0, 2, 3, 1, 4).flatten(-2)


def causal_mask(length: int, prefix: int, device: torch.device) -> Tensor:
    """[L, P + L] boolean: a suffix token sees the whole prefix and the suffix up to itself."""
    return torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix)


def suffix_features(tower: TextTower, states: States, suffix: Tensor, lengths: Sequence[int],
                    plan: Sequence[Bucket]) -> Tensor:
    """Text features [G, C, d] of suffixes [C, S, D] behind prefixes that are known by their states."""
    groups, _, prefix, _ = states[0][0].shape
    device = suffix.device
    width = suffix.shape[-1]
    pieces, masks, shapes = [], [], []
    for bucket in plan:
        rows = torch.tensor(bucket.classes, device=device)
        positions = tower.positional_embedding[prefix : prefix + bucket.length]
        pieces.append((suffix[rows, : bucket.length] + positions).expand(groups, -1, -1, -1).reshape(-1, width))
        masks.append(causal_mask(bucket.length, prefix, device))
        shapes.append((groups, len(bucket.classes), bucket.length))
    sizes = [len(piece) for piece in pieces]
    x = torch.cat(pieces)  # [tokens of all groups and classes, D]

    def part(block: Block, packed: Tensor, i: int) -> Tensor:
        return block.split_heads(packed.unflatten(0, shapes[i]))

    for block, state in zip(tower.blocks[:-1], states[:-1], strict=True):
        attended = []
        for i, projected in enumerate(block.project(x).split(sizes)):
            q, k, v = (part(block, p, i) for p in projected.chunk(3, dim=-1))
            attended.append(attend(q, k, v, state, masks[i]).reshape(-1, width))
        x = block.mlp(x + block.out(torch.cat(attended)))

    block, state = tower.blocks[-1], states[-1]
    attended, ends, read = [], [], []
    order: list[int] = []
    at = 0
    for bucket in plan:
        stop = torch.tensor([lengths[c] - 1 for c in bucket.classes], device=device)
        row = torch.arange(groups * len(bucket.classes), device=device) * bucket.length + stop.repeat(groups)
        read.append(row + at)
        at += groups * len(bucket.classes) * bucket.length
        order.extend(bucket.classes)
        ends.append(stop)
    end_states = x[torch.cat(read)]  # [G C, D], bucket after bucket
    queries = block.queries(end_states).split([len(r) for r in read])
    for i, projected in enumerate(block.keys_values(x).split(sizes)):
        k, v = (part(block, p, i) for p in projected.chunk(2, dim=-1))
        q = block.split_heads(queries[i].reshape(groups, shapes[i][1], 1, width))
        seen = torch.arange(prefix + shapes[i][2], device=device) <= prefix + ends[i][:, None]
        mask = None if bool(plan_is_exact(plan[i], lengths)) else seen.repeat(groups, 1)[:, None, None, :]
        attended.append(attend(q, k, v, state, mask).reshape(-1, width))
    features = tower.read_out(block.mlp(end_states + block.out(torch.cat(attended))))
    counts = [groups * s[1] for s in shapes]
    by_bucket = [f.unflatten(0, (groups, -1)) for f in features.split(counts)]
    back = torch.tensor(order, device=device).argsort()
    return torch.cat(by_bucket, dim=1)[:, back]


def plan_is_exact(bucket: Bucket, lengths: Sequence[int]) -> bool:
    return all(lengths[c] == bucket.length for c in bucket.classes)


def bytes_per_token(sizes: TransformerSizes) -> int:
    """Memory that one token holds until the backward pass, in bytes (float32, frozen weights)."""
    return 4 * sizes.layers * (10 * sizes.width + 2 * sizes.mlp_width)


class Fast:
    """Interpreter of prompts that computes nothing twice.

    budget: bytes that text activations may take in one step; beyond it classes go in chunks that
    are recomputed in the backward pass.
    """

    def __init__(self, backbone: Backbone, budget: int = 4 << 30) -> None:
        self.backbone = backbone
        self.budget = budget
        self._kept: dict[str, tuple[object, Any, object]] = {}

    def text(self, prompt: TextPrompt) -> Tensor:
        """Unit-length text features of every class under every prefix, [G, C, d]."""
        if not any(t.requires_grad for t in prompt.tensors()):
            return self._keep("features", prompt.tensors(), lambda: self._text(prompt))
        return self._text(prompt)

    def _text(self, prompt: TextPrompt) -> Tensor:
        tower = self.backbone.text
        prefix_parts = [prompt.prefix, *prompt.deep]
        if any(t.requires_grad for t in prefix_parts):
            states = prefix_states(tower, prompt.prefix, prompt.deep)
        else:
            states = self._keep(
                "states", prefix_parts, lambda: prefix_states(tower, prompt.prefix, prompt.deep)
            )
        limit = bucket_limit(prompt.suffix.device)
        chunks = self._chunks(prompt)
        if len(chunks) == 1:
            return suffix_features(tower, states, prompt.suffix, prompt.lengths, buckets(prompt.lengths, limit))
        features = []
        for chunk in chunks:
            part = prompt.rows(chunk)
            plan = buckets(part.lengths, limit)
            if torch.is_grad_enabled() and any(t.requires_grad for t in prompt.tensors()):
                features.append(
                    checkpoint(suffix_features, tower, states, part.suffix, part.lengths, plan, use_reentrant=False)
                )
            else:
                features.append(suffix_features(tower, states, part.suffix, part.lengths, plan))
        back = torch.tensor([c for chunk in chunks for c in chunk], device=prompt.suffix.device).argsort()
        return torch.cat(features, dim=1)[:, back]

    def _chunks(self, prompt: TextPrompt) -> list[list[int]]:
        """Classes in chunks whose activations fit the budget, similar lengths together."""
        per_token = bytes_per_token(self.backbone.text.sizes) * prompt.groups
        if sum(prompt.lengths) * per_token <= self.budget:
            return [list(range(prompt.classes))]
        order = sorted(range(prompt.classes), key=lambda c: prompt.lengths[c])
        chunks: list[list[int]] = [[]]
        used = 0
        for c in order:
            cost = prompt.lengths[c] * per_token
            if chunks[-1] and used + cost > self.budget:
                chunks.append([])
                used = 0
            chunks[-1].append(c)
            used += cost
        return chunks

    def __getstate__(self) -> dict[str, object]:
        """Without what is kept: it is known by addresses in memory, which mean nothing in another process."""
        return self.__dict__ | {"_kept": {}}

    def _keep(self, kind: str, tensors: Sequence[Tensor], compute: Callable[[], Any]) -> Any:
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
        if prompt is None or not torch.is_grad_enabled():
            with torch.no_grad():
                parts = pixels.split(self._pictures(FORWARD_SHARE))
                if prompt is None:
                    return torch.cat([self.backbone.image(part) for part in parts])
                return torch.cat([image_features(self.backbone.vit, prompt, part) for part in parts])
        tower = self.backbone.vit
        parts = pixels.split(self._pictures(1.0))
        if len(parts) == 1:
            return image_features(tower, prompt, pixels)
        return torch.cat([checkpoint(image_features, tower, prompt, part, use_reentrant=False) for part in parts])

    def _pictures(self, share: float) -> int:
        """How many pictures fit the budget at once."""
        if not hasattr(self.backbone.image, "blocks"):
            return 64
        sizes = self.backbone.vit.sizes
        return max(1, int(self.budget / (share * (1 + sizes.patches) * bytes_per_token(sizes))))


FORWARD_SHARE = 0.1  # of what a picture holds for the backward pass, needed without one


def image_features(tower: ImageTower, prompt: ImagePrompt, pixels: Tensor) -> Tensor:
    """Unit-length features of pictures with visual prompts; the last block at the class token only."""
    with torch.no_grad():
        x = tower.ln_pre(tower.embed(pixels))
    x = torch.cat([x, tower.ln_pre(prompt.tokens).expand(x.shape[0], -1, -1)], dim=1)
    last = len(tower.blocks) - 1
    for i, block in enumerate(tower.blocks):
        if 1 <= i <= len(prompt.deep):
            deep = prompt.deep[i - 1].expand(x.shape[0], -1, -1)
            x = torch.cat([x[:, : x.shape[1] - deep.shape[1]], deep], dim=1)
        if i < last:
            x = block(x)
    return tower.read_out(tower.blocks[last].read(x, 0))
