"""A method as it was written for release 0.1: facts as class attributes, and `prompts` in place of `texts`."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from vlprompt.methods.base import Method, Recipe
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import Prompts
from vlprompt.prompts.words import check_names, template_prompt


@dataclass(frozen=True)
class Options(OptionSet):
    keep: float = option(0.01, "weight of keeping the words where they were", low=0)


class Nudge(Method):
    Options = Options
    title = "Nudge"
    paper = "nobody, yet"
    needs = "features"
    recipe = Recipe(epochs=20, batch=32, lr=0.002)
    zero_shot_start = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        names = check_names(self.task.class_names)
        self.start = template_prompt(self.backbone, names, self.task.templates[0])
        self.nudges = nn.Parameter(torch.zeros_like(self.start.prefix[0, 1:]))

    def prompts(self, image_features=None):
        sos, words = self.start.prefix[:, :1], self.start.prefix[:, 1:]
        return Prompts(replace(self.start, prefix=torch.cat([sos, words + self.nudges], dim=1)))

    def loss(self, output, labels):
        return super().loss(output, labels) | {"size": self.nudges.pow(2).sum()}

    def loss_weights(self):
        return {"size": self.options.keep}
