"""TCP: vectors of each class's own, made from the frozen feature of its name, enter far up the text tower.

    z_c = W_2 s(W_1 t_c + b_1) + b_2          t_c: frozen text feature of class c; s(h) = h sigmoid(1.702 h)
    [SOS][v_1]..[v_n][name].[EOT];            before block 9 the positions of v_1 .. v_n become z_c
    L = CE + lambda mean_c |w_c - t_c|^2      w_c: text feature of class c

Source: Yao et al., "TCP: Textual-based Class-aware Prompt tuning for Visual-Language Model", CVPR 2024, section 3.
The published code computes 1 - cos(w_c, t_c), half of the squared distance that KgCoOp's paper writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vlprompt.errors import OptionError
from vlprompt.methods.base import Facts, Recipe, Seen
from vlprompt.methods.kgcoop import NearTemplate
from vlprompt.methods.published import CONTEXT, META_NET, PublishedShapes
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import BlockTokens, FrozenText, Text
from vlprompt.prompts.words import check_names, context_start, split_template, template_prompt

FACTS = Facts(
    title="TCP",
    paper="Yao et al., CVPR 2024",
    link="https://arxiv.org/abs/2311.18231",
    order=54,
    recipe=Recipe(epochs=50, batch=32, lr=0.002, optimizer="adam"),
    says_template=True,
    published_marks=(
        "*.meta_net.linear2.weight",
    ),  # the names are CoCoOp's too, so that this one has to be named
    plain_words="words around the names, and hints made from each name",
    colour="#0B8F8F",
    marker="X",
)


@dataclass(frozen=True)
class Options(OptionSet):
    context_tokens: int = option(4, "learned tokens; without effect if context_init is given", low=1, high=64)
    context_init: str = option("", 'words whose embeddings start the context, such as "a photo of a"')
    prompt_template: str = option(
        "",
        "a template with one {} whose first words the context replaces; none: what stands behind the name in the "
        "data set's template, behind the context and the name",
    )
    block: int = option(
        0,
        "text block, counted from 1, before which the class's vectors enter; 0: the ninth of twelve, as far up where there are others",
        low=0,
    )
    weight: float = option(8.0, "lambda: weight of the distance from the template's features", low=0)
    reference: str = option(
        "paper",
        "the distance: |w - t|^2, or 1 - cos, half of it (published code)",
        choices=("paper", "published_code"),
    )


class TCP(NearTemplate):
    """In training, `extra` holds the frozen features of the template ("teacher_text", [C, d])."""

    Options = Options
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts, backbone = self.options, self.backbone
        names = check_names(self.task.class_names)
        _, n, start = context_start(backbone, opts.context_init, opts.context_tokens)
        self.context = self.normal(n, backbone.text_width) if start is None else nn.Parameter(start)
        hidden = max(1, backbone.embed_dim // 4)
        self.reduce = self.linear(backbone.embed_dim, hidden)
        self.expand = self.linear(hidden, n * backbone.text_width)
        self._frozen = template_prompt(backbone, names, self._template(n))
        layers = len(backbone.text.blocks)
        if opts.block > layers:
            raise OptionError(f"block is {opts.block}, but the text tower has only {layers}")
        self.block = opts.block - 1 if opts.block else min(2 * layers // 3, layers - 1)

    def _template(self, n: int) -> str:
        if self.options.prompt_template:
            return self.options.prompt_template
        return " ".join(["X"] * n) + " {}" + split_template(self.task.templates[0])[1]

    def class_tokens(self) -> Tensor:
        """z_c, the vectors of each class, [C, n, text width]."""
        hidden = self.reduce(self.frozen_text())
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        return self.expand(hidden).unflatten(-1, (len(self.context), -1))

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        entering = BlockTokens(self.class_tokens(), self.block)
        prompt = replace(self._frozen.with_context(self.context, len(self.context)), inner=[entering])
        if not self.training:
            return [prompt]
        return [prompt, FrozenText(self.task.class_names, self.task.templates)]

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        tokens = shapes.shape(CONTEXT, (2,))[0]
        return {"context_tokens": tokens, "context_init": "", "reference": "published_code"}

    def published_names(self) -> dict[str, str]:
        return dict(META_NET)


METHOD = TCP
