"""MaPLe: deep text prompts whose linear images are the visual prompts.

    text: P_1 at the input, P_2..P_J replaced at blocks 2..J
    image: Q_j = W_j P_j + b_j, one linear map per depth

Source: Khattak et al., "MaPLe: Multi-modal Prompt Learning", CVPR 2023, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vlprompt.methods.base import Method, Needs, Recipe
from vlprompt.methods.ivlp import TextTokens
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import ImagePrompt, Prompts


@dataclass(frozen=True)
class Options(OptionSet):
    context_tokens: int = option(2, "learned text tokens, and as many visual ones", low=1, high=64)
    context_init: str = option("a photo of a", "words that start the context if context_tokens is at most 4")
    depth: int = option(
        9, "blocks of both towers that get tokens of their own; more than there are: all", low=1
    )
    init_always: bool = option(
        False,
        "use context_init for more than 4 tokens too, over the name if need be (published LAMM on MaPLe)",
    )


class MaPLe(Method):
    Options = Options
    title = "MaPLe"
    paper = "Khattak et al., CVPR 2023"
    needs: Needs = "pixels"
    recipe = Recipe(epochs=5, batch=4, lr=0.0035)
    per_step = "both towers"
    published_label_tokens = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts, backbone = self.options, self.backbone
        # where the towers differ in length, prompts beyond the shorter one act in the longer one only
        depth = min(opts.depth, max(backbone.text_layers, backbone.image_layers))
        self.published_label_position = 1 + opts.context_tokens
        self.words = TextTokens(self, opts.context_tokens, opts.context_init, depth, opts.init_always)
        self.couplings = nn.ModuleList(
            self.linear(backbone.text_width, backbone.image_width) for _ in range(depth)
        )

    def prompts(self, image_features: Tensor | None = None) -> Prompts:
        text = self.words.prompt()
        tokens, *deep = (
            w(p) for w, p in zip(self.couplings, [self.words.context, *self.words.deep], strict=True)
        )
        return Prompts(text, ImagePrompt(tokens, deep))

    def learned_context(self) -> Tensor | None:
        return self.words.context.detach()

    def published_names(self) -> dict[str, str]:
        names = {"prompt_learner.ctx": "words.context"}
        for i in range(len(self.words.deep)):
            names[f"prompt_learner.compound_prompts_text.{i}"] = f"words.deep.{i}"
        for j in range(len(self.couplings)):
            theirs = "proj" if j == 0 else f"compound_prompt_projections.{j - 1}"
            for part in ("weight", "bias"):
                names[f"prompt_learner.{theirs}.{part}"] = f"couplings.{j}.{part}"
        return names


METHOD = MaPLe
