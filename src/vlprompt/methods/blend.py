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

from vlprompt.errors import OptionError
from vlprompt.methods.base import Facts, Method, Recipe, Seen
from vlprompt.methods.finding import load
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import Output, Text

FACTS = Facts(
    title="Blend",
    paper="weights by cross-validation: Cawley and Talbot, JMLR 2010",
    link="https://jmlr.org/papers/v11/cawley10a.html",
    order=45,
    per_step="that of its part that is trained",
    recipe=Recipe(epochs=0),
    trains=False,  # with prompts among its parts it does
    prompts_hold_names=False,
    independent_classes=False,  # where a name is not among those that were learned, all are left to one part
    learns_words=False,
    says_template=True,
    plain_words="several of these together",
    colour="#444444",
    marker="+",
)


@dataclass(frozen=True)
class Options(OptionSet):
    parts: str = option("linear_probe zeroshot", "methods whose logits are added, with spaces between")
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
    facts = FACTS

    @classmethod
    def facts_of(cls, options: Any) -> Facts:
        """With a part that takes steps, it does, as that part's recipe says."""
        taught = _taught(options)
        if taught is None:
            return FACTS
        return replace(FACTS, trains=True, recipe=load(taught).facts.recipe)

    def __init__(self, *args: Any, parts: Sequence[Method] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        made = parts if parts is not None else [self._made(name) for name in self.options.parts.split()]
        self.parts = nn.ModuleList(made)
        self.weights = [float(word) for word in self.options.weights.split()]
        self.taught = _taught(self.options)
        if any(not part.facts.cached or part.facts.per_image_text for part in self.each()):
            raise OptionError(
                f"blend: {self.options.parts}: parts have to work on features of the frozen image tower"
            )
        for name, part in zip(self.options.parts.split(), self.each(), strict=True):
            part.requires_grad_(self.taught in (None, name))

    def _made(self, name: str) -> Method:
        own = {"strength": self.options.strength} if name == "linear_probe" else {}
        return load(name).build(self.backbone, self.task, own, self.generator)

    def each(self) -> Iterator[Method]:
        """The parts in the order of their names."""
        for part in self.parts:
            assert isinstance(part, Method)
            yield part

    def part(self, name: str) -> Method:
        return list(self.each())[self.options.parts.split().index(name)]

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        """In training those of the part that learns by steps; else those of all parts."""
        return [text for part in self._heard() for text in part.texts(seen)]

    def _heard(self) -> list[Method]:
        return [self.part(self.taught)] if self.training and self.taught is not None else list(self.each())

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        """In training what the part says that learns; else the sum. text: of the part that takes further names."""
        heard = self._heard()
        if self.training and self.taught is not None:
            return heard[0].compare(seen, features)
        outputs, start = [], 0
        for part in heard:
            count = len(part.texts(seen))
            outputs.append(part.compare(seen, features[start : start + count]))
            start += count
        logits = sum(weight * output.logits for weight, output in zip(self.weights, outputs, strict=True))
        assert isinstance(logits, Tensor)
        named = outputs[self.options.parts.split().index(self.options.names)]
        return Output(logits, named.image, named.text)

    @torch.no_grad()
    def prepare(self, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        for part in self.each():
            if part.facts.learns:
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
        return sum(p.numel() for part in self.each() if part.facts.learns for p in part.parameters())


def _taught(options: Options) -> str | None:
    """The part that takes steps; OptionError where there are several, or a part is a blend itself."""
    names = options.parts.split()
    if any(name.partition("+")[0] == "blend" for name in names):
        raise OptionError("blend: a blend is no part of another")
    taught = [name for name in names if load(name).facts.takes_steps]
    if len(taught) > 1:
        raise OptionError(f"blend: of {options.parts}, one at most may take training steps")
    return taught[0] if taught else None


METHOD = Blend
