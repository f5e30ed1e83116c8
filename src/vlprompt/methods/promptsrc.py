"""PromptSRC: deep prompts in both towers (IVLP), held to what the frozen model says, and averaged over the epochs.

    L = CE + lambda_t mean|w - w0| + lambda_i mean|f - f0| + KL(softmax(s f0 w0^T) || softmax(s f w^T))
    P = sum_e b_e P_e,   b_e ~ exp(-(e - mu)^2 / 2 sigma^2)          P_e: prompts at the end of epoch e = 1 .. N

f, w: features with prompts; f0: frozen feature of the same view; w0: frozen text features, mean over 60 templates, which
is brought to unit length (the features of the single templates are not). Both means are over all numbers.

Source: Khattak et al., "Self-regulating Prompts: Foundational Model Adaptation without Forgetting", ICCV 2023, section 3.
The published code divides the divergence by pictures and classes. It also averages the frozen towers, which in half
precision changes them; here prompts alone are averaged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlprompt.methods import ivlp
from vlprompt.methods.base import Batch, Facts, Recipe, Seen
from vlprompt.methods.kgcoop import with_teacher
from vlprompt.methods.published import PublishedShapes
from vlprompt.options import option
from vlprompt.prompts.tokens import FrozenText, Output, Text

FACTS = Facts(
    title="PromptSRC",
    paper="Khattak et al., ICCV 2023",
    link="https://arxiv.org/abs/2307.06948",
    order=95,
    needs={"pixels", "features"},
    per_step="both towers",
    recipe=Recipe(epochs=20, batch=4, lr=0.0025),
    plain_words="hints for words and pictures, held near the original model",
    slow=True,
    published_marks=("prompt_learner.ctx", "*_encoder.*VPT*", "prompt_learner.ZS_image_encoder.*"),
    published_unused=("prompt_learner.ZS_image_encoder.*",),
    colour="#882255",
    marker="3",
)
TEMPLATES = Path(__file__).parents[1] / "assets" / "imagenet_templates.json"
COUNT = 60  # of the 80 templates, the first ones


@dataclass(frozen=True)
class Options(ivlp.Options):
    context_tokens: int = option(4, "learned text tokens", low=1, high=64)
    text_depth: int = option(9, "text blocks that get tokens of their own; more than there are: all", low=1)
    image_tokens: int = option(4, "learned tokens beside the patches", low=1, high=200)
    image_depth: int = option(9, "image blocks that get tokens of their own; 0: no visual prompts", low=0)
    text_weight: float = option(25.0, "weight of staying near the frozen text features (lambda_t)", low=0)
    image_weight: float = option(10.0, "weight of staying near the frozen image features (lambda_i)", low=0)
    average_mean: float = option(
        15.0,
        "epoch around which prompts are averaged (mu), 1 is the first; below 1: share of all epochs",
        low=0,
        high=1e6,
    )
    average_std: float = option(
        1.0,
        "width of that average in epochs (sigma); below 1: share of all epochs; 0: no average",
        low=0,
        high=1e6,
    )
    reference: str = option(
        "paper",
        "the divergence: mean over pictures, or over pictures and classes (published code)",
        choices=("paper", "published_code"),
    )


@lru_cache(maxsize=1)
def templates() -> tuple[str, ...]:
    """The templates whose frozen features are averaged."""
    return tuple(json.loads(TEMPLATES.read_text(encoding="utf-8"))["templates"][:COUNT])


def epoch_weights(epochs: int, mean: float, std: float) -> list[float]:
    """Weights of the epochs 1 .. N, of sum 1: a bell around `mean`. Below 1, mean and std are shares of N."""
    mean, std = (value if value >= 1 else value * epochs for value in (mean, std))
    std = max(std, 1e-3)  # narrower, it is one epoch all the same
    powers = [-((epoch - mean) ** 2) / (2 * std**2) for epoch in range(1, epochs + 1)]
    bells = [math.exp(power - max(powers)) for power in powers]
    return [bell / sum(bells) for bell in bells]


def sum_of(name: str) -> str:
    """The name of the weighted sum over epochs of a learned tensor."""
    return f"sum_of_{name.replace('.', '_')}"


class PromptSRC(ivlp.IVLP):
    """In training, `extra` holds frozen features: "teacher_text" [C, d], "teacher_image" [B, d]."""

    Options = Options
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in list(self.named_parameters()):
            self.register_buffer(sum_of(name), torch.zeros_like(value), persistent=False)

    def see(self, batch: Batch) -> Seen:
        seen = super().see(batch)
        if not self.training:
            return seen
        return replace(seen, extra=seen.extra | {"teacher_image": self.frozen_features(batch)})

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        own = super().texts(seen)
        if not self.training:
            return own
        return [*own, FrozenText(self.task.class_names, templates(), unit_first=False)]

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        text, *teacher = features
        output = with_teacher(super().compare(seen, [text]), teacher)
        return replace(output, extra=output.extra | seen.extra)

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        terms = super().loss(output, labels)
        if "teacher_text" not in output.extra:
            return terms
        text, image = output.extra["teacher_text"], output.extra["teacher_image"]
        frozen = self.logits(image, text).log_softmax(dim=-1)
        divergence = (frozen.exp() * (frozen - output.logits.log_softmax(dim=-1))).sum(dim=-1).mean()
        if self.options.reference == "published_code":
            divergence = divergence / output.logits.shape[-1]
        return terms | {
            "text": (output.text - text).abs().mean(),
            "image": (output.image - image).abs().mean(),
            "logits": divergence,
        }

    def loss_weights(self) -> dict[str, float]:
        return {"text": self.options.text_weight, "image": self.options.image_weight}

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        return super().published_options(shapes, wrapped) | {"reference": "published_code"}

    @torch.no_grad()
    def end_of_epoch(self, epoch: int, epochs: int) -> None:
        """Adds the epoch's prompts to the average, which takes their place after the last."""
        opts = self.options
        if not opts.average_std:
            return
        weight = epoch_weights(epochs, opts.average_mean, opts.average_std)[epoch]
        for name, value in self.named_parameters():
            held = self.get_buffer(sum_of(name))
            held.mul_(epoch > 0).add_(value, alpha=weight)
            if epoch == epochs - 1:
                value.copy_(held)


METHOD = PromptSRC
