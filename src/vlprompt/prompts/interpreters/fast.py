"""The fast way to evaluate prompts; equal to `prompts/interpreters/plain.py` in values and gradients.

Exact because the text mask is causal:
1. the prefix runs once per group; its keys and values are kept per block for all classes;
2. a suffix ends at its [EOT]; suffixes are packed side by side, nothing is padded to 77 (prompts/interpreters/packing.py);
3. the last block computes the [EOT] position (image: the class token) only;
4. a prefix that does not learn is run once, without gradients (texts that do not: prompts/interpreters/fixed.py);
5. many classes go in chunks under a memory budget, recomputed in the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.towers.transformer import ImageTower, TextTower, TransformerSizes
from vlprompt.prompts.interpreters.packing import Packing
from vlprompt.prompts.tokens import ImagePrompt, TextPrompt

States = list[
    tuple[Tensor, Tensor]
]  # keys and values of the prefix per block, each [G, heads, P, width / heads]


def prefix_states(tower: TextTower, prefix: Tensor, deep: Sequence[Tensor]) -> States:
    """Keys and values of the prefix at every block. prefix: [G, P, D], without positions."""
    x = prefix + tower.positional_embedding[: prefix.shape[1]]
    states: States = []
    last = len(tower.blocks) - 1
    for i, block in enumerate(tower.blocks):
        x = deeper(x, deep, i)
        if i == last:
            k, v = (block.split_heads(part) for part in block.keys_values(x).chunk(2, dim=-1))
            states.append((k, v))
            break
        q, k, v = (block.split_heads(part) for part in block.project(x).chunk(3, dim=-1))
        states.append((k, v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = block.mlp(x + block.out(attended.transpose(-3, -2).flatten(-2)))
    return states


def deeper(x: Tensor, deep: Sequence[Tensor], i: int) -> Tensor:
    """x [G, L, D] with the tokens behind the first replaced by those that are learned for block i, if there are any."""
    if not 1 <= i <= len(deep):
        return x
    tokens = deep[i - 1]
    return torch.cat([x[:, :1], tokens.expand(len(x), -1, -1), x[:, 1 + len(tokens) :]], dim=1)


def attend(q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
    """Suffix tokens attend to their prefix and to their own suffix as far as it is not hidden.

    q: [G, heads, C, Q, e]; k, v: [G, heads, C, L, e]; state: [G, heads, P, e] each.
    hidden: [Q, P + L] or [C, Q, P + L], -inf where a query does not see, else 0.
    Returns [G, heads, C, Q, e].
    """
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
    weights = torch.add(hidden, scores, alpha=size**-0.5).softmax(dim=-1, dtype=torch.float32).to(v.dtype)
    prefix = shared_k.shape[-2]
    from_prefix = weights[..., :prefix].reshape(groups, heads, classes * length, prefix) @ shared_v
    return weights[..., prefix:] @ v + from_prefix.unflatten(2, (classes, length))


def hide(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where seen, -inf elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, float("-inf"))


def causal_mask(length: int, prefix: int, device: torch.device) -> Tensor:
    """[L, P + L] boolean: a suffix token sees the whole prefix and the suffix up to itself."""
    return torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix)


def text_features(
    tower: TextTower,
    states: States | None,
    prefix: Tensor,
    deep: Sequence[Tensor],
    suffix: Tensor,
    lengths: Sequence[int],
) -> Tensor:
    """Text features [G, C, d] of suffixes [C, S, D] behind prefixes [G, P, D].

    states: of the prefixes, if they are known; if not, their tokens go through the blocks beside the others.
    """
    (groups, length), heads = prefix.shape[:2], tower.sizes.heads
    device, dtype = suffix.device, tower.projection.dtype
    positions = tower.positional_embedding
    if states is None:
        packing = Packing(lengths, groups, heads, device, prefix=length)
        x = packing.pack(suffix, positions[length:], prefix + positions[:length])
    else:
        packing = Packing(lengths, groups, heads, device)
        x = packing.pack(suffix, positions[length:])
    masks = [hide(causal_mask(one.length, length, device), dtype) for one in packing.sets]
    for i, block in enumerate(tower.blocks[:-1]):
        if states is None:
            x = deeper(x.unflatten(0, (groups, -1)), deep, i).flatten(0, 1)
        parts = packing.spread(block.project(x), 3)
        attended = []
        if states is None:
            (q, k, v), *parts = parts
            attended.append(
                F.scaled_dot_product_attention(q[:, :, 0], k[:, :, 0], v[:, :, 0], is_causal=True)
            )
            state = k[:, :, 0], v[:, :, 0]
        else:
            state = states[i]
        attended += [attend(q, k, v, state, mask) for (q, k, v), mask in zip(parts, masks, strict=True)]
        x = block.mlp(x + block.out(packing.gather(attended)))

    block = tower.blocks[-1]
    x = x.unflatten(0, (groups, -1))
    if states is None:
        x = deeper(x, deep, len(tower.blocks) - 1)
    parts = packing.spread(block.keys_values(x.flatten(0, 1)), 2)
    if states is None:
        (k, v), *parts = parts
        state = k[:, :, 0], v[:, :, 0]
    else:
        state = states[-1]
    ends = x[:, packing.ends]  # [G, C, D], in the order of the packing
    counts = [len(one.classes) for one in packing.sets]
    queries = block.split_heads(block.queries(ends)).split(counts, dim=2)  # each [G, heads, C, e]
    stops = torch.tensor(packing.lengths, device=device).split(counts)
    attended = []
    for one, (k, v), q, stop in zip(packing.sets, parts, queries, stops, strict=True):
        seen = torch.arange(length + one.length, device=device) < length + stop[:, None]
        attended.append(attend(q[..., None, :], k, v, state, hide(seen[:, None], dtype))[..., 0, :])
    found = torch.cat(attended, dim=2).transpose(1, 2).flatten(-2)  # [G, C, D]
    features = tower.read_out(block.mlp(ends + block.out(found)))
    return features[:, torch.tensor(packing.order, device=device).argsort()]


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
        self._kept: tuple[object, States, object] | None = None

    def text(self, prompt: TextPrompt) -> Tensor:
        """Unit-length text features of every class under every prefix, [G, C, d]."""
        tower = self.backbone.text
        prefix = prompt.prefix, prompt.deep
        learns = any(t.requires_grad for t in (prompt.prefix, *prompt.deep))
        chunks = self._chunks(prompt)
        if (
            learns
        ):  # beside the others only where it is fastest, so that what is scored and served has the same bits
            beside = torch.is_grad_enabled() and len(chunks) == 1
            states = None if beside else prefix_states(tower, *prefix)
        else:
            states = self._states(prompt)
        if len(chunks) == 1:
            return text_features(tower, states, *prefix, prompt.suffix, prompt.lengths)
        features = []
        for chunk in chunks:
            part = prompt.rows(chunk)
            arguments = tower, states, *prefix, part.suffix, part.lengths
            if torch.is_grad_enabled() and any(t.requires_grad for t in prompt.tensors()):
                features.append(checkpoint(text_features, *arguments, use_reentrant=False))
            else:
                features.append(text_features(*arguments))
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
        return self.__dict__ | {"_kept": None}

    def _states(self, prompt: TextPrompt) -> States:
        """Those of a prefix that does not learn: the last ones, as long as its tensors are the same and unchanged."""
        tensors = (prompt.prefix, *prompt.deep)
        key = tuple((t.data_ptr(), t._version, t.shape) for t in tensors)
        if self._kept is None or self._kept[0] != key:
            with torch.no_grad():
                states = prefix_states(self.backbone.text, prompt.prefix, prompt.deep)
            # the tensors are kept with the result so that their addresses cannot be given to others
            self._kept = key, states, tensors
        return self._kept[1]

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
        return torch.cat(
            [checkpoint(image_features, tower, prompt, part, use_reentrant=False) for part in parts]
        )

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
