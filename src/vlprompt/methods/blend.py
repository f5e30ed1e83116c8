"""Blend: a weighted sum of what several methods say, which `--method auto` makes from those that suit the pictures.

    logits(x) = sum_k w_k logits_k(x)        k: zero-shot, a linear probe, Tip-Adapter, learned prompts

A linear probe knows the classes that it was shown and no others. One part, `names`, takes further names: the blend for
names that it has not learned is that part alone, and with a weight of zero it is there for nothing else.

Sums of zero-shot and few-shot logits: Zhang et al., "Tip-Adapter", ECCV 2022; Lin et al., "Multimodality Helps
Unimodality", CVPR 2023; Huang et al., "LP++", CVPR 2024. The weights are ours, chosen by cross-validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vlprompt import methods
from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch, Edit, Method, Recipe
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import Output, Prompts

DEFAULT_PARTS = "linear_probe zeroshot"


@dataclass(frozen=True)
class Options(OptionSet):
    parts: str = option(DEFAULT_PARTS, "methods whose logits are added, with spaces between")
    weights: str = option("1 1", "weight of each, in the same order")
    names: str = option("zeroshot", "the part that is asked about classes that were not learned")
    strength: float = option(
        10.0,
        "inverse weight of the linear probe's penalty (scikit-learn's C); 0: the best on validation",
        low=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts.split() or len(set(self.parts.split())) < len(self.parts.split()):
            raise OptionError(f'parts is "{self.parts}": expected different methods with spaces between')
        if self.names not in self.parts.split():
            raise OptionError(f'names is "{self.names}": expected one of the parts, {self.parts}')
        try:
            count = len([float(word) for word in self.weights.split()])
        except ValueError:
            count = -1
        if count != len(self.parts.split()):
            raise OptionError(
                f'weights is "{self.weights}": expected {len(self.parts.split())} numbers, one for a part'
            )


class Blend(Method):
    """Parts that take steps are trained by the loop, one at most; the others learn when they see the features."""

    Options = Options
    title = "Blend"
    paper = "weights by cross-validation"
    recipe = Recipe(epochs=0)
    trains = False
    says_template = True
    independent_classes = False  # where a name is not among those that were learned, all are left to one part
    per_step = "that of its part that is trained"

    def __init__(self, *args: Any, parts: Sequence[Method] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        made = parts if parts is not None else [self._made(name) for name in self.options.parts.split()]
        self.parts = nn.ModuleList(made)
        self.weights = [float(word) for word in self.options.weights.split()]
        taught = [part for part in self.each() if part.learns and part.trains]
        if len(taught) > 1:
            raise OptionError(f"blend: of {self.options.parts}, one at most may take training steps")
        if any(part.needs != "features" or part.per_image_text for part in self.each()):
            raise OptionError(
                f"blend: {self.options.parts}: parts have to work on features of the frozen image tower"
            )
        self.taught = self.options.parts.split()[list(self.each()).index(taught[0])] if taught else None
        self.trains = bool(taught)  # type: ignore[misc]
        if taught:
            base = getattr(taught[0], "base", taught[0])
            self.recipe = base.recipe if base.learns else taught[0].recipe  # type: ignore[misc]
        for name, part in zip(self.options.parts.split(), self.each(), strict=True):
            part.interpreter = self.interpreter if name != self.taught else part.interpreter
            part.requires_grad_(self.taught in (None, name))

    def _made(self, name: str) -> Method:
        if name.partition("+")[0] == "blend":
            raise OptionError("blend: a blend is no part of another")
        own = {"strength": self.options.strength} if name == "linear_probe" else {}
        return methods.load(name).build(self.backbone, self.task, own, self.generator)

    def each(self) -> Iterator[Method]:
        """The parts in the order of their names."""
        for part in self.parts:
            assert isinstance(part, Method)
            yield part

    def part(self, name: str) -> Method:
        return list(self.each())[self.options.parts.split().index(name)]

    def prompts(self, image_features: Tensor | None = None) -> Prompts:
        """Those of the part that takes further names."""
        return self.part(self.options.names).prompts(image_features)

    def forward(self, batch: Batch, edit: Edit | None = None) -> Output:
        """In training what the part says that learns; else the sum. text: of the part that takes further names."""
        if self.training and self.taught is not None:
            return self.part(self.taught)(batch, edit)
        outputs = [part(batch) for part in self.each()]
        logits = sum(weight * output.logits for weight, output in zip(self.weights, outputs, strict=True))
        assert isinstance(logits, Tensor)
        named = outputs[self.options.parts.split().index(self.options.names)]
        return Output(logits, named.image, named.text)

    @torch.no_grad()
    def prepare(self, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        for part in self.each():
            if part.learns:
                part.prepare(features, labels, val_features, val_labels)
                part.requires_grad_(self.taught is None or part is self.part(self.taught))

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        return (
            super().loss(output, labels)
            if self.taught is None
            else self.part(self.taught).loss(output, labels)
        )

    def loss_weights(self) -> dict[str, float]:
        return {} if self.taught is None else self.part(self.taught).loss_weights()

    def for_classes(self, names: Sequence[str]) -> Method:
        """Of classes that it has learned all parts speak, of lists with others the one that takes further names."""
        if set(names) <= set(self.task.class_names):
            parts = [part.for_classes(names) for part in self.each()]
            task = replace(self.task, class_names=tuple(names))
            return Blend(self.backbone, task, self.options, parts=parts).train(self.training)
        return self.part(self.options.names).for_classes(names)

    def extend(self, names: Sequence[str]) -> Method:
        """The part that takes further names goes on alone."""
        return self.part(self.options.names).extend(names)

    def trainable_parameters(self) -> int:
        """Learned numbers of all parts, also of those that take no steps."""
        return sum(p.numel() for part in self.each() if part.learns for p in part.parameters())

    def train(self, mode: bool = True) -> Blend:
        super().train(mode)
        return self


METHOD = Blend
