"""CLIP and the methods of the second set of parity cases once more, as formulas on the published tensors.

Nothing here knows the library: a state dict in OpenAI's layout, 77 tokens for every class, every block in full.
The tests compare the methods with it, values and gradients, on towers whose widths all differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]
Before = Mapping[int, Callable[[Tensor], Tensor]]  # what happens to the sequence before a block
NOTHING: Before = MappingProxyType({})
Linear = Callable[[str, Tensor, Tensor, Tensor], Tensor]  # name, input, weight, bias -> output


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def plain_linear(name: str, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ weight.t() + bias


class Clip:
    """weights: as arrays or tensors; encode: text -> token ids, start and end included."""

    def __init__(self, weights: Mapping[str, Any], encode: Callable[[str], Sequence[int]]) -> None:
        self.w = {n: torch.as_tensor(t).float() for n, t in weights.items()}
        self.encode = encode
        self.scale = float(self.w["logit_scale"].exp())

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def depth(self, tower: str) -> int:
        own = [n for n in self.w if n.startswith(f"{tower}transformer.resblocks.")]
        return 1 + max(int(n.removeprefix(f"{tower}transformer.resblocks.").split(".")[0]) for n in own)

    def block(self, name: str, x: Tensor, mask: Tensor | None, linear: Linear) -> Tensor:
        """x: [N, T, width]."""
        width, w = x.shape[-1], self.w
        heads = width // 64
        h = self.norm(f"{name}.ln_1", x)
        parts = []
        for i, part in enumerate("qkv"):
            rows = slice(i * width, (i + 1) * width)
            weight, bias = w[f"{name}.attn.in_proj_weight"][rows], w[f"{name}.attn.in_proj_bias"][rows]
            parts.append(linear(f"{name}.attn.{part}_proj", h, weight, bias))
        q, k, v = (p.unflatten(-1, (heads, 64)).transpose(1, 2) for p in parts)
        scores = q @ k.transpose(-1, -2) / 8
        weights = (scores if mask is None else scores + mask).softmax(-1)
        joined = (weights @ v).transpose(1, 2).flatten(2)
        out = linear(
            f"{name}.attn.proj", joined, w[f"{name}.attn.out_proj.weight"], w[f"{name}.attn.out_proj.bias"]
        )
        return self.mlp(name, x + out)

    def mlp(self, name: str, x: Tensor) -> Tensor:
        w = self.w
        h = self.norm(f"{name}.ln_2", x) @ w[f"{name}.mlp.c_fc.weight"].t() + w[f"{name}.mlp.c_fc.bias"]
        return (
            x
            + (h * torch.sigmoid(1.702 * h)) @ w[f"{name}.mlp.c_proj.weight"].t()
            + w[f"{name}.mlp.c_proj.bias"]
        )

    # -- texts -----------------------------------------------------------------------------------

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings [C, 77, D] without positions, and where the end token stands."""
        rows = [list(self.encode(text)) for text in texts]
        ids = torch.tensor([row + [0] * (77 - len(row)) for row in rows])
        return self.w["token_embedding.weight"][ids], torch.tensor([len(row) - 1 for row in rows])

    def text(
        self, x: Tensor, ends: Tensor, before: Before = NOTHING, linear: Linear = plain_linear
    ) -> Tensor:
        """Unit-length features; the end moves with what `before` inserts in front of it."""
        x = x + self.w["positional_embedding"]
        for i in range(self.depth("")):
            if i in before:
                longer = before[i](x)
                ends = ends + longer.shape[1] - x.shape[1]
                x = longer
            mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
            x = self.block(f"transformer.resblocks.{i}", x, mask, linear)
        x = self.norm("ln_final", x)[torch.arange(len(x)), ends]
        return unit(x @ self.w["text_projection"])

    def of(self, texts: Sequence[str], linear: Linear = plain_linear, before: Before = NOTHING) -> Tensor:
        return self.text(*self.tokens(texts), before, linear)

    # -- pictures --------------------------------------------------------------------------------

    def image_states(
        self,
        pixels: Tensor,
        appended: Tensor | None = None,
        before: Before = NOTHING,
        linear: Linear = plain_linear,
        blocks: int | None = None,
    ) -> Tensor:
        """States after the blocks, [B, T, width]; the class token first."""
        w = self.w
        patches = F.conv2d(pixels, w["visual.conv1.weight"], stride=w["visual.conv1.weight"].shape[-1])
        patches = patches.flatten(2).transpose(1, 2)
        first = w["visual.class_embedding"].expand(len(pixels), 1, -1)
        x = torch.cat([first, patches], 1) + w["visual.positional_embedding"]
        if appended is not None:
            x = torch.cat([x, appended.expand(len(x), -1, -1)], 1)
        x = self.norm("visual.ln_pre", x)
        for i in range(self.depth("visual.") if blocks is None else blocks):
            x = before[i](x) if i in before else x
            x = self.block(f"visual.transformer.resblocks.{i}", x, None, linear)
        return x

    def image(self, pixels: Tensor, **how: Any) -> Tensor:
        x = self.norm("visual.ln_post", self.image_states(pixels, **how)[:, 0])
        return unit(x @ self.w["visual.proj"])


def overwrite(tokens: Tensor) -> Callable[[Tensor], Tensor]:
    """Positions 1..n become these, [n, D] or [C, n, D]."""

    def change(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1], tokens.expand(len(x), -1, -1), x[:, 1 + tokens.shape[-2] :]], 1)

    return change


def overwrite_last(tokens: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.cat([x[:, : -len(tokens)], tokens.expand(len(x), -1, -1)], 1)


def insert(tokens: Tensor) -> Callable[[Tensor], Tensor]:
    """Further positions behind the first."""
    return lambda x: torch.cat([x[:, :1], tokens.expand(len(x), -1, -1), x[:, 1:]], 1)


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    return 1 - (a * b).sum(-1).mean()


# -- the methods: published tensors in, text features, image features, logits and terms out ------------


def kgcoop(
    clip: Clip, p: Weights, pixels: Tensor, labels: Tensor, texts: list[str], teachers: list[str]
) -> dict[str, Tensor]:
    """texts: prompts whose positions 1..n the context takes."""
    context = p["prompt_learner.ctx"]
    x, ends = clip.tokens(texts)
    w = clip.text(overwrite(context)(x), ends)
    f, t = clip.image(pixels), clip.of(teachers)
    logits = clip.scale * f @ w.t()
    return {
        "text": w,
        "image": f,
        "teacher_text": t,
        "logits": logits,
        "loss_ce": F.cross_entropy(logits, labels),
        "loss_distance": cosine_distance(w, t),
    }


def tcp(
    clip: Clip, p: Weights, pixels: Tensor, labels: Tensor, texts: list[str], teachers: list[str], block: int
) -> dict[str, Tensor]:
    """block: index of the block before which class vectors are written over positions 1..n."""
    t = clip.of(teachers)
    net = "prompt_learner.meta_net.linear"
    h = t @ p[f"{net}1.weight"].t() + p[f"{net}1.bias"]
    h = h * torch.sigmoid(1.702 * h)
    z = (h @ p[f"{net}2.weight"].t() + p[f"{net}2.bias"]).unflatten(-1, (len(p["prompt_learner.ctx"]), -1))
    x, ends = clip.tokens(texts)
    w = clip.text(overwrite(p["prompt_learner.ctx"])(x), ends, {block: overwrite(z)})
    f = clip.image(pixels)
    logits = clip.scale * f @ w.t()
    return {
        "text": w,
        "image": f,
        "teacher_text": t,
        "logits": logits,
        "loss_ce": F.cross_entropy(logits, labels),
        "loss_distance": cosine_distance(w, t),
    }


def promptsrc(
    clip: Clip, p: Weights, pixels: Tensor, labels: Tensor, texts: list[str], teachers: list[list[str]]
) -> dict[str, Tensor]:
    """teachers: for every template the texts of all classes."""
    where = "transformer.resblocks.{}.VPT_shallow"

    def deep(tower: str, write: Callable[[Tensor], Callable[[Tensor], Tensor]]) -> Before:
        names = {i: f"{tower}.{where.format(i)}" for i in range(1, 64)}
        return {i: write(p[name]) for i, name in names.items() if name in p}

    x, ends = clip.tokens(texts)
    w = clip.text(overwrite(p["prompt_learner.ctx"])(x), ends, deep("text_encoder", overwrite))
    appended = p.get("image_encoder.VPT")
    f = clip.image(pixels, appended=appended, before=deep("image_encoder", overwrite_last))
    f0 = clip.image(pixels)
    w0 = unit(torch.stack([raw_text(clip, each) for each in teachers]).mean(0))
    logits, logits0 = clip.scale * f @ w.t(), clip.scale * f0 @ w0.t()
    q, q0 = logits.log_softmax(-1), logits0.log_softmax(-1)
    return {
        "text": w,
        "image": f,
        "teacher_text": w0,
        "teacher_image": f0,
        "logits": logits,
        "loss_ce": F.cross_entropy(logits, labels),
        "loss_text": (w - w0).abs().mean(),
        "loss_image": (f - f0).abs().mean(),
        "loss_logits": (q0.exp() * (q0 - q)).sum() / q.numel(),
    }


def raw_text(clip: Clip, texts: Sequence[str]) -> Tensor:
    """Text features as the projection gives them, not brought to unit length."""
    x, ends = clip.tokens(texts)
    x = x + clip.w["positional_embedding"]
    mask = torch.full((77, 77), float("-inf")).triu(1)
    for i in range(clip.depth("")):
        x = clip.block(f"transformer.resblocks.{i}", x, mask, plain_linear)
    return clip.norm("ln_final", x)[torch.arange(len(x)), ends] @ clip.w["text_projection"]


def mmrl(
    clip: Clip,
    p: Weights,
    pixels: Tensor,
    labels: Tensor,
    texts: list[str],
    layers: Sequence[int],
    alpha: float,
    beta: float | None = None,
) -> dict[str, Tensor]:
    """layers: numbers of the blocks, from 1; beta: of MMRL++, whose tensors `p` then holds."""
    where = "representation_learner"
    tokens = p[f"{where}.compound_rep_tokens"]
    n = len(tokens)

    def projected(side: str, i: int) -> Tensor:
        if beta is None:
            own = f"{where}.compound_rep_tokens_{side}.{i}"
            return tokens @ p[f"{own}.weight"].t() + p[f"{own}.bias"]
        own = f"{where}.srra_{side}"
        weight = p[f"{own}.weight"] + p[f"{own}.srra.{i}.A"] @ p[f"{own}.srra.{i}.B"]
        return tokens @ weight.t() + p[f"{own}.srra.{i}.bias"]

    def later(value: Tensor) -> Callable[[Tensor], Tensor]:
        if beta is None:
            return overwrite(value)
        return lambda x: overwrite(beta * value + (1 - beta) * x[:, 1 : 1 + n])(x)

    def before(side: str) -> Before:
        values = [projected(side, i) for i in range(len(layers))]
        return {
            layer - 1: insert(value) if i == 0 else later(value)
            for i, (layer, value) in enumerate(zip(layers, values, strict=True))
        }

    w, w0 = clip.of(texts, before=before("r2tproj")), clip.of(texts)
    states = clip.norm("visual.ln_post", clip.image_states(pixels, before=before("r2vproj")))
    f, f0 = unit(states[:, 0] @ clip.w["visual.proj"]), clip.image(pixels)
    if beta is None:
        projection = p["image_encoder.proj_rep"]
    else:
        projection = clip.w["visual.proj"] + p["image_encoder.A"] @ p["image_encoder.B"]
    g = unit(states[:, 1 : 1 + n].mean(1) @ projection)
    logits, logits_rep = 100 * f @ w.t(), 100 * g @ w.t()
    return {
        "text": w,
        "image": f,
        "image_rep": g,
        "teacher_text": w0,
        "teacher_image": f0,
        "logits": logits,
        "logits_rep": logits_rep,
        "logits_fusion": alpha * logits + (1 - alpha) * logits_rep,
        "loss_ce": F.cross_entropy(logits, labels),
        "loss_ce_rep": F.cross_entropy(logits_rep, labels),
        "loss_image": cosine_distance(f, f0),
        "loss_text": cosine_distance(w, w0),
    }


def clip_lora(
    clip: Clip,
    p: Weights,
    pixels: Tensor,
    labels: Tensor,
    texts: list[str],
    scaling: float,
    drop: Callable[[str, Tensor], Tensor] = lambda name, x: x,
) -> dict[str, Tensor]:
    """drop: name of the matrix and its input [N, T, width] -> what the low-rank branch sees of it."""

    def linear(name: str, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        found = plain_linear(name, x, weight, bias)
        if f"{name}.w_lora_A" in p:
            found = found + scaling * (drop(name, x) @ p[f"{name}.w_lora_A"].t()) @ p[f"{name}.w_lora_B"].t()
        return found

    w, f = clip.of(texts, linear=linear), clip.image(pixels, linear=linear)
    logits = 100 * f @ w.t()
    return {"text": w, "image": f, "logits": logits, "loss_ce": F.cross_entropy(logits, labels)}


def gallop(
    clip: Clip,
    p: Weights,
    pixels: Tensor,
    labels: Tensor,
    names: list[str],
    topk: Sequence[int],
    chosen: Tensor,
) -> dict[str, Tensor]:
    """topk: one number for each local prompt; chosen: [B, keep] numbers of the global prompts of each picture."""
    x, ends = clip.tokens(names)

    def features(prompts: Tensor) -> Tensor:
        """[P, n, D] -> [C, P, d]."""
        each = []
        for prompt in prompts:
            longer = torch.cat([x[:, :1], prompt.expand(len(x), -1, -1), x[:, 1:]], 1)[:, :77]
            each.append(clip.text(longer, ends + len(prompt)))
        return torch.stack(each, 1)

    wg, wl = features(p["global_prompt"]), features(p["local_prompts"])
    f = clip.image(pixels)
    last = clip.depth("visual.") - 1
    name = f"visual.transformer.resblocks.{last}"
    x = clip.image_states(pixels, blocks=last)
    width = x.shape[-1]
    h = clip.norm(f"{name}.ln_1", x)
    v = plain_linear(
        "",
        h,
        clip.w[f"{name}.attn.in_proj_weight"][2 * width :],
        clip.w[f"{name}.attn.in_proj_bias"][2 * width :],
    )
    u = x + plain_linear("", v, clip.w[f"{name}.attn.out_proj.weight"], clip.w[f"{name}.attn.out_proj.bias"])
    u = clip.norm("visual.ln_post", clip.mlp(name, u))[:, 1:]
    local = unit(u @ p["local_proj.linear.weight"].t() @ clip.w["visual.proj"])

    g = torch.einsum("bd,cgd->bcg", f, wg)
    cosines = torch.einsum("bnd,cld->bncl", local, wl)
    means = []
    for i, k in enumerate(topk):
        means.append(cosines[..., i].topk(min(k, cosines.shape[1]), dim=1).values.mean(1))
    found = torch.stack(means, -1)  # [B, C, L]
    kept = g.gather(2, chosen[:, None].expand(-1, g.shape[1], -1)).mean(-1)
    local_loss = torch.stack([F.cross_entropy(clip.scale * found[..., i], labels) for i in range(len(topk))])
    return {
        "global_text": wg,
        "local_text": wl,
        "image": f,
        "local": local,
        "probabilities": (clip.scale * (g.mean(-1) + found.mean(-1)) / 2).softmax(-1),
        "global_probabilities": (clip.scale * g.mean(-1)).softmax(-1),
        "local_probabilities": (clip.scale * found.mean(-1)).softmax(-1),
        "loss_local": local_loss.mean(),
        "loss_global": F.cross_entropy(clip.scale * kept, labels),
    }
