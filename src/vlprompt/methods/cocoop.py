"""CoCoOp: a context that a small network shifts by what is in the picture.

    v_i(x) = v_i + h(f(x)),   h: linear d -> d/16, ReLU, linear -> text width

Source: Zhou et al., "Conditional Prompt Learning for Vision-Language Models", CVPR 2022, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import nn

from vlprompt.methods.base import Facts, Method, Recipe, Seen
from vlprompt.methods.published import CONTEXT, META_NET, PublishedShapes
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import Text
from vlprompt.prompts.words import check_names, context_start, template_prompt

FACTS = Facts(
    title="CoCoOp",
    paper="Zhou et al., CVPR 2022",
    link="https://arxiv.org/abs/2203.05557",
    order=60,
    per_step="text tower over all classes, once per picture",
    recipe=Recipe(epochs=10, batch=1, lr=0.002),
    per_image_text=True,
    plain_words="words that follow the picture",
    slow=True,
    colour="#2F93CC",
    marker="s",
    published_marks=("prompt_learner.ctx", "*.meta_net.*"),
)


@dataclass(frozen=True)
class Options(OptionSet):
    context_tokens: int = option(4, "learned tokens; without effect if context_init is given", low=1, high=64)
    context_init: str = option("a photo of a", "words whose embeddings start the context")


class CoCoOp(Method):
    Options = Options
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts, backbone = self.options, self.backbone
        names = check_names(self.task.class_names)
        template, n, start = context_start(backbone, opts.context_init, opts.context_tokens)
        self.context = self.normal(n, backbone.text_width) if start is None else nn.Parameter(start)
        hidden = max(1, backbone.embed_dim // 16)
        self.reduce = self.linear(backbone.embed_dim, hidden)
        self.expand = self.linear(hidden, backbone.text_width)
        self._frozen = template_prompt(backbone, names, template, prefix_length=1 + n)

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        """One prefix per picture."""
        assert seen is not None
        shift = self.expand(F.relu(self.reduce(seen.features)))  # [B, text width]
        context = self.context + shift[:, None]
        return [self._frozen.with_context(context)]

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        return {"context_tokens": shapes.shape(CONTEXT, (2,))[0], "context_init": ""}

    def published_names(self) -> dict[str, str]:
        return dict(META_NET)


METHOD = CoCoOp
