"""What a training will take, before it begins: memory and time from sizes and a short measurement."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from vlprompt.backbones.towers.transformer import TransformerSizes
from vlprompt.methods.base import Method, Seen
from vlprompt.prompts.interpreters.fast import bytes_per_token
from vlprompt.prompts.tokens import TextPrompt
from vlprompt.training.train_options import TrainOptions


@dataclass(frozen=True)
class Estimate:
    """memory: bytes of activations in one step (before chunking). seconds: of the whole training, roughly."""

    memory: int
    seconds: float
    text_tokens: int
    image_tokens: int

    def exceeds(self, budget: int) -> bool:
        return self.memory > budget

    def text(self) -> str:
        return f"about {self.memory / 2**30:.1f} GiB per step and {_duration(self.seconds)} of training"


def estimate(method: Method, pictures: int, options: TrainOptions, rate: float | None = None) -> Estimate:
    """pictures: training pictures; options: resolved. rate: operations per second, measured if not given."""
    backbone = method.backbone
    batch = options.pictures_of_step(max(1, pictures))
    part = -(-batch // options.accumulate)
    one = torch.zeros(1, backbone.embed_dim, device=backbone.device)
    texts = method.texts(Seen(one, one[None]))  # tells whether gradients pass, so not under no_grad
    learning = [text for text in texts if isinstance(text, TextPrompt) and text.learns]
    tokens = sum(map(_text_tokens, learning)) * (part if method.facts.per_image_text else 1)
    image_tokens = 0
    image_sizes = backbone.image_sizes
    if "pixels" in method.facts.needs and image_sizes is not None:
        image_tokens = part * (backbone.image_tokens + 16)
    work = 3 * tokens * _per_token(backbone.text_sizes)
    memory = tokens * bytes_per_token(backbone.text_sizes)
    if image_tokens and image_sizes is not None:
        work += 3 * image_tokens * _per_token(image_sizes)
        memory += image_tokens * bytes_per_token(image_sizes)
    steps = options.epochs * max(1, pictures // batch) * min(options.accumulate, batch)
    seconds = steps * work / (rate or measured_rate(backbone.device, backbone.dtype))
    return Estimate(memory, seconds, tokens, image_tokens)


def _text_tokens(text: TextPrompt) -> int:
    return text.groups * (text.prefix.shape[1] + sum(text.lengths))


def _per_token(sizes: TransformerSizes) -> int:
    """Operations of one token's way through a tower, matrix products only; about 2/3 of that backward."""
    return 2 * sizes.layers * (4 * sizes.width * sizes.width + 2 * sizes.width * sizes.mlp_width)


def measured_rate(device: torch.device, dtype: torch.dtype, n: int = 512) -> float:
    """Half of a square matrix product's operations per second: what a training step reaches, roughly."""
    a = torch.ones(n, n, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        float((a @ a)[0, 0])  # reading a value waits for the device
        best = min(best, time.perf_counter() - began)
    return n**3 / best


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
