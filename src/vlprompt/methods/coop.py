"""CoOp: learned context tokens in place of the template's words.

    [SOS][v_1]..[v_n][name].[EOT]       loss: cross entropy

Source: Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from vlprompt.data.task import DEFAULT_TEMPLATE
from vlprompt.errors import OptionError
from vlprompt.methods.base import Facts, Method, Recipe, Seen
from vlprompt.methods.published import CONTEXT, PublishedShapes
from vlprompt.options import OptionSet, option
from vlprompt.prompts.placing import POSITIONS, Placing
from vlprompt.prompts.tokens import Text
from vlprompt.prompts.words import check_names, context_start, template_prompt

FACTS = Facts(
    title="CoOp",
    paper="Zhou et al., IJCV 2022",
    link="https://arxiv.org/abs/2109.01134",
    order=50,
    recipe=Recipe(epochs=50, batch=32, lr=0.002),
    plain_words="words around the names",
    colour="#0072B2",
    marker="o",
    published_marks=("prompt_learner.ctx",),
    published_under=("lamm",),
)


@dataclass(frozen=True)
class Options(OptionSet):
    context_tokens: int = option(
        16, "learned tokens; without effect if context_init is given", low=1, high=64
    )
    context_init: str = option("", 'words whose embeddings start the context, such as "a photo of a"')
    class_specific: bool = option(False, "one context per class instead of one for all")
    name_position: str = option("end", "where the class name stands", choices=POSITIONS)


class CoOp(Method):
    Options = Options
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts = self.options
        names = check_names(self.task.class_names)
        template, n, start = context_start(self.backbone, opts.context_init, opts.context_tokens)
        shape = (n, self.backbone.text_width)
        if start is not None:
            self.context = nn.Parameter(start)
        elif opts.class_specific:
            self.context = self.normal(len(names), *shape)
        else:
            self.context = self.normal(*shape)
        frozen = template_prompt(self.backbone, names, template, prefix_length=1)
        self._placing = Placing(frozen, n, opts.name_position)

    @classmethod
    def facts_of(cls, options: Any) -> Facts:
        words = bool(options.context_init)
        starts = f"{options.context_init} {{}}." == DEFAULT_TEMPLATE and options.name_position == "end"
        return replace(cls.facts, takes_new_names=words or not options.class_specific, zero_shot_start=starts)

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        """context: [n, D], or [C, n, D] if class-specific."""
        own = self.context.dim() == 3
        return [self._placing.rows(self.context) if own else self._placing.shared(self.context)]

    def for_classes(self, names: Sequence[str]) -> Method:
        if self.context.dim() == 3 and tuple(names) != self.task.class_names:
            raise OptionError(
                "a class-specific context belongs to the classes it was learned for: "
                "use class_specific=false to take it to other names"
            )
        return super().for_classes(names)

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        context = shapes.shape(CONTEXT, (2, 3))
        return {"context_tokens": context[-2], "class_specific": len(context) == 3, "context_init": ""}

    def published_names(self) -> dict[str, str]:
        return {"prompt_learner.ctx": "context"}


METHOD = CoOp
