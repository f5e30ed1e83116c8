"""A weighted average of the prompts over the epochs, as in PromptSRC: Khattak et al., "Self-regulating Prompts", ICCV 2023.

v = sum_e w_e v_e,   w_e: normal density of e with mean and deviation, e = 1..N, made to sum to 1
"""

from dataclasses import dataclass

import torch

from vlprompt.methods import Facts, Method, OptionSet, Recipe, option
from vlprompt.prompts.words import check_names, placeholder_template, template_prompt


@dataclass(frozen=True)
class Options(OptionSet):
    mean: float = option(15.0, "epoch that counts most")
    deviation: float = option(1.0, "how many epochs around it count", low=0.01)


class AveragedCoOp(Method):
    """CoOp whose context is the weighted mean of those at the ends of the epochs."""

    Options = Options
    facts = Facts(
        title="Averaged CoOp",
        paper="after Khattak et al., ICCV 2023",
        link="https://arxiv.org/abs/2307.06948",
        recipe=Recipe(epochs=20, batch=4, lr=0.0025),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        names = check_names(self.task.class_names)
        self.context = self.normal(4, self.backbone.text_width)
        self.prompt = template_prompt(self.backbone, names, placeholder_template(4), prefix_length=5)
        # in checkpoints, not in the saved run
        self.register_buffer("sum", torch.zeros_like(self.context.data), persistent=False)

    def texts(self, seen=None):
        return [self.prompt.with_context(self.context)]

    @torch.no_grad()
    def end_of_epoch(self, epoch, epochs):
        places = (torch.arange(1, epochs + 1) - self.options.mean) / self.options.deviation
        self.sum += float((-(places**2) / 2).softmax(0)[epoch]) * self.context
        if epoch + 1 == epochs:
            self.context.copy_(self.sum)
