"""MaPLe: deep text prompts whose linear images are the visual prompts.

    text: P_1 at the input, P_2..P_J replaced at blocks 2..J
    image: Q_j = W_j P_j + b_j, one linear map per depth

Source: Khattak et al., "MaPLe: Multi-modal Prompt Learning", CVPR 2023, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from vlprompt.methods.base import Batch, Facts, Method, Recipe, Seen
from vlprompt.methods.ivlp import TextTokens
from vlprompt.methods.published import CONTEXT, LEARNER, PublishedShapes
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import ImagePrompt, Text

FACTS = Facts(
    title="MaPLe",
    paper="Khattak et al., CVPR 2023",
    link="https://arxiv.org/abs/2210.03117",
    order=100,
    needs={"pixels"},
    per_step="both towers",
    recipe=Recipe(epochs=5, batch=4, lr=0.0035),
    plain_words="hints for words and pictures, tied together",
    slow=True,
    colour="#D55E00",
    marker="^",
    published_marks=("prompt_learner.ctx", "prompt_learner.proj.weight"),
    published_under=("lamm",),
    published_label_position=3,
    published_label_tokens=1,
)


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
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts, backbone = self.options, self.backbone
        # where the towers differ in length, prompts beyond the shorter one act in the longer one only, and one that the
        # image tower has no block for needs no map into it
        depth = min(opts.depth, max(backbone.text_layers, backbone.image_layers))
        self.words = TextTokens(self, opts.context_tokens, opts.context_init, depth, opts.init_always)
        self.couplings = nn.ModuleList(
            self.linear(backbone.text_width, backbone.image_width)
            for _ in range(min(depth, backbone.image_layers))
        )

    @classmethod
    def facts_of(cls, options: Any) -> Facts:
        return replace(cls.facts, published_label_position=1 + options.context_tokens)

    def see(self, batch: Batch) -> Seen:
        assert batch.pixels is not None
        tokens, *deep = (
            w(p) for w, p in zip(self.couplings, [self.words.context, *self.words.deep], strict=False)
        )
        return Seen(self.interpreter.image(batch.pixels, ImagePrompt(tokens, deep)))

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return [self.words.prompt()]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Runs that were learned before hold maps for blocks that the image tower does not have: they say nothing."""
        for name in [n for n in state if n.startswith(f"{prefix}couplings.")]:
            if int(name[len(prefix) :].split(".")[1]) >= len(self.couplings):
                del state[name]
        super()._load_from_state_dict(state, prefix, *args)

    def learned_context(self) -> Tensor | None:
        return self.words.context.detach()

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        return {
            "context_tokens": shapes.shape(CONTEXT, (2,))[0],
            "depth": 1 + shapes.count(f"{LEARNER}compound_prompts_text.{{}}", 0),
            "init_always": wrapped,
        }

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
