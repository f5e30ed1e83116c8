"""KgCoOp: learned context tokens that keep the text features near those of a frozen template.

    L = CE + weight (1 - mean_c cos(w_c, t_c))

Source: Yao et al., "Visual-Language Prompt Tuning with Knowledge-guided Context Optimization", CVPR 2023.
"""

from dataclasses import dataclass

from torch import nn

from vlprompt.methods import Facts, FrozenText, Method, OptionSet, Recipe, option
from vlprompt.prompts.words import check_names, context_start, template_prompt


@dataclass(frozen=True)
class Options(OptionSet):
    context_init: str = option(
        "a photo of a", "words whose embeddings start the context; none: 4 random vectors"
    )
    distance_weight: float = option(8.0, "weight of the distance to the frozen template", low=0)


class KgCoOp(Method):
    Options = Options
    facts = Facts(
        title="KgCoOp",
        paper="Yao et al., CVPR 2023",
        link="https://arxiv.org/abs/2303.13283",
        needs={
            "features"
        },  # of pictures, encoded once; or patches with them, or pixels, or pixels and features
        recipe=Recipe(epochs=100, batch=128, lr=0.002),  # unless --epochs, ... are given
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)  # self.backbone, self.task, self.options
        names = check_names(self.task.class_names)
        template, n, start = context_start(self.backbone, self.options.context_init, 4)
        drawn = self.normal(n, self.backbone.text_width)
        self.context = (
            drawn if start is None else nn.Parameter(start)
        )  # what learns and is saved: [n, text width]
        self.prompt = template_prompt(self.backbone, names, template, prefix_length=1 + n)

    def texts(self, seen=None):
        learned = self.prompt.with_context(self.context)
        if not self.training:
            return [learned]
        return [learned, FrozenText(self.task.class_names, self.task.templates)]

    def compare(self, seen, features):
        learned, *frozen = (part[0] for part in features)  # [C, d] each
        return self.output(seen.features, learned, **({"teacher": frozen[0]} if frozen else {}))

    def loss(self, output, labels):
        near = (output.text * output.extra["teacher"]).sum(dim=-1).mean()
        return super().loss(output, labels) | {"distance": 1 - near}

    def loss_weights(self):
        return {"distance": self.options.distance_weight}
