"""CoCoOp: a context that a small network shifts by what is in the picture.

    v_i(x) = v_i + h(f(x)),   h: linear d -> d/16, ReLU, linear -> text width

Source: Zhou et al., "Conditional Prompt Learning for Vision-Language Models", CVPR 2022, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.methods.base import Method, Recipe
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import Prompts
from vlprompt.prompts.words import check_names, context_start, template_prompt


@dataclass(frozen=True)
class Options(OptionSet):
    context_tokens: int = option(4, "learned tokens; without effect if context_init is given", low=1, high=64)
    context_init: str = option("a photo of a", "words whose embeddings start the context")


class CoCoOp(Method):
    Options = Options
    title = "CoCoOp"
    paper = "Zhou et al., CVPR 2022"
    recipe = Recipe(epochs=10, batch=1, lr=0.002)
    per_image_text = True
    per_step = "text tower over all classes, once per picture"

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

    def prompts(self, image_features: Tensor | None = None) -> Prompts:
        """image_features: [B, d], unit length; one prefix per picture."""
        assert image_features is not None
        shift = self.expand(F.relu(self.reduce(image_features)))  # [B, text width]
        context = self.context + shift[:, None]
        return Prompts(self._frozen.with_context(context))

    def published_names(self) -> dict[str, str]:
        names = {"prompt_learner.ctx": "context"}
        for theirs, ours in (("linear1", "reduce"), ("linear2", "expand")):
            for part in ("weight", "bias"):
                names[f"prompt_learner.meta_net.{theirs}.{part}"] = f"{ours}.{part}"
        return names


METHOD = CoCoOp
