"""A wrapper goes on top of a method, `other+wrapper`: it edits the texts and hands the rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch, Facts, Method, Seen
from vlprompt.methods.parameter_groups import ParameterGroup
from vlprompt.options import OptionSet
from vlprompt.prompts.tokens import Output, Text
from vlprompt.prompts.words import template_prompt


class FrozenTemplate(Method):
    """The words of the task's template around the class names; what a wrapper alone goes around."""

    facts = Facts(title="Template", paper="Radford et al., ICML 2021", learns=False, zero_shot_start=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prompt = template_prompt(self.backbone, self.task.class_names, self.task.templates[0])

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return [self.prompt]


class Wrapper(Method):
    """Hands everything on to the method that it wraps; a subclass changes what it is there for.

    base: the wrapped method, for the same backbone and task; the template's words if it is not given.
    Its facts are those of the wrapped method under its own. OptionError for one whose prompts hold no class names.
    """

    alone = FrozenTemplate

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        options: OptionSet | None = None,
        generator: torch.Generator | None = None,
        *,
        base: Method | None = None,
    ) -> None:
        super().__init__(backbone, task, options, generator)
        base = base if base is not None else FrozenTemplate(backbone, task, generator=generator)
        if not base.facts.prompts_hold_names:
            raise OptionError(
                f"the prompts of {base.facts.title} hold no class names that {self.facts.title} could learn"
            )
        self.base = base
        self.facts = base.facts.under(self.facts)
        self.interpreter = base.interpreter

    def see(self, batch: Batch) -> Seen:
        return self.base.see(batch)

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return self.base.texts(seen)

    def named_texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return self.base.named_texts(seen)

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        return self.base.compare(seen, features)

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        return self.base.loss(output, labels)

    def loss_weights(self) -> dict[str, float]:
        return self.base.loss_weights()

    def prepare(self, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        self.base.prepare(features, labels, val_features, val_labels)

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        return self.base.parameter_groups()

    def end_of_epoch(self, epoch: int, epochs: int) -> None:
        self.base.end_of_epoch(epoch, epochs)

    def learned_context(self) -> Tensor | None:
        return self.base.learned_context()

    def patch_weights(self, patches: Tensor) -> Tensor | None:
        return self.base.patch_weights(patches)

    def published_names(self) -> dict[str, str]:
        return {theirs: f"base.{ours}" for theirs, ours in self.base.published_names().items()}
