"""Blend: a weighted sum of what several methods say, which `--method auto` makes from those that suit the pictures.

    logits(x) = sum_k w_k logits_k(x)        k: zero-shot, a linear probe, Tip-Adapter, learned prompts

A linear probe knows the classes that it was shown and no others. For names u that were not learned, the parts that take
such names speak with weights of their own, V, and an offset says how such a class stands beside learned ones:

    logits_u(x) = V_u(x) + offset        V_c(x) = sum_k v_k logits_k(x)

Beside learned classes l, V says how much each kind has in common, since it speaks of both on one scale, and the sum above how the
learned ones share theirs (`gated`; if not, learned classes keep the logits of the sum):

    logits_l(x) = log softmax_l(sum_k w_k logits_k(x)) + max_l' V_l'(x)

The best of a kind hardly depends on how many names there are. With `gated_by="mean"` log mean_l' exp V_l'(x) stands in its place,
and log(number of u) is taken off logits_u(x).

Without `new_weights` a list that has a name which was not learned is left to one part, `names`, alone.

Sums of zero-shot and few-shot logits: Zhang et al., "Tip-Adapter", ECCV 2022; Lin et al., "Multimodality Helps
Unimodality", CVPR 2023; Huang et al., "LP++", CVPR 2024. The weights are ours, chosen by cross-validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, log
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

NUMBERS = {  # options that may follow a part's name, in this order, each behind a colon
    "linear_probe": ("strength",),
    "bilinear_probe": ("strength", "own"),
}


@dataclass(frozen=True)
class Options(OptionSet):
    parts: str = option(
        "linear_probe zeroshot",
        "methods whose logits are added, with spaces between; linear_probe:10 has a strength of its own, bilinear_probe:100:3 also what a class may learn beside its name",
    )
    weights: str = option("1 1", "weight of each, in the same order")
    names: str = option("zeroshot", "the part that is asked about classes that were not learned")
    strength: float = option(
        10.0,
        "inverse weight of the linear probe's penalty (scikit-learn's C), where the part does not say it; 0: the best on validation",
        low=0,
    )
    new_weights: str = option(
        "",
        "weight of each part, in the same order, for classes that were not learned; none: lists that have such a class "
        "are left to the part that names says",
    )
    new_offset: float = option(
        0.0, "added to the logits of classes that were not learned, where they stand beside learned ones"
    )
    gated: bool = option(
        False,
        "how much learned classes have in common beside others is what the parts with new_weights say; if not, what the sum says",
    )
    gated_by: str = option(
        "mean",
        "gated: what learned classes have in common, their best or their mean by those parts",
        choices=("best", "mean"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts.split() or len(set(self.parts.split())) < len(self.parts.split()):
            raise OptionError(f'parts is "{self.parts}": expected different methods with spaces between')
        for part in self.parts.split():
            _checked(part)
        if self.names not in self.parts.split():
            raise OptionError(f'names is "{self.names}": expected one of the parts, {self.parts}')
        _numbers(self, "weights")
        new = (
            dict(zip(self.parts.split(), _numbers(self, "new_weights"), strict=True))
            if self.new_weights
            else {}
        )
        for name, weight in new.items():
            if weight and not load(method_of(name)).facts.takes_new_names:
                raise OptionError(
                    f"new_weights gives {weight:g} to {name}, which takes no new names: expected 0"
                )


def part_of(method: str, *numbers: float) -> str:
    """What a part is called, with numbers of its own or without: `bilinear_probe:100:3`."""
    return ":".join([method, *(f"{number:g}" for number in numbers)])


def method_of(part: str) -> str:
    """The method of a part, `linear_probe` of "linear_probe:10"."""
    return part.partition(":")[0]


def options_of(part: str) -> dict[str, Any]:
    """The options that a part says, {"strength": 10.0} of "linear_probe:10"."""
    method, *numbers = part.split(":")
    return {name: float(number) for name, number in zip(NUMBERS.get(method, ()), numbers, strict=False)}


def _checked(part: str) -> None:
    """OptionError for what is no number above 0, or stands behind a method that has none."""
    method, *numbers = part.split(":")
    try:
        fine = len(numbers) <= len(NUMBERS.get(method, ())) and all(0 < float(n) < inf for n in numbers)
    except ValueError:
        fine = False
    if not fine:
        known = " or ".join(":".join([name, *values]) for name, values in NUMBERS.items())
        raise OptionError(f'parts has "{part}": expected a method, or with numbers above 0 {known}')


def _numbers(options: Options, name: str) -> list[float]:
    """The weights in a text, one for a part; OptionError for a text that does not hold so many."""
    text, count = getattr(options, name), len(options.parts.split())
    try:
        found = [float(word) for word in text.split()]
    except ValueError:
        found = []
    if len(found) != count:
        raise OptionError(f'{name} is "{text}": expected {count} numbers, one for a part')
    return found


class Blend(Method):
    """Parts that take steps are trained by the loop, one at most; the others learn when they see the features."""

    Options = Options
    facts = FACTS

    @classmethod
    def facts_of(cls, options: Any) -> Facts:
        """With a part that takes steps, it does, as that part's recipe says."""
        taught, parts = _taught(options), [load(method_of(name)).facts for name in options.parts.split()]
        heard = [part for part, weight in zip(parts, _numbers(options, "weights"), strict=True) if weight]
        found = replace(
            FACTS,
            needs=frozenset({"features"}).union(*(part.needs for part in heard)),
            shown_patches=any(part.shown_patches for part in parts),
        )
        if taught is None:
            return found
        return replace(found, trains=True, recipe=load(method_of(taught)).facts.recipe)

    def __init__(self, *args: Any, parts: Sequence[Method] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        made = parts if parts is not None else [self._made(name) for name in self.options.parts.split()]
        self.parts = nn.ModuleList(made)
        self.weights = _numbers(self.options, "weights")
        self.taught = _taught(self.options)
        if not all(_may_take_part(part.facts) for part in self.each()):
            raise OptionError(
                f"blend: {self.options.parts}: parts have to work on features of the frozen image tower"
            )
        for name, part in zip(self.options.parts.split(), self.each(), strict=True):
            part.requires_grad_(self.taught in (None, name))

    def _made(self, name: str) -> Method:
        method = method_of(name)
        own = {"strength": self.options.strength} if method == "linear_probe" else {}
        return load(method).build(self.backbone, self.task, own | options_of(name), self.generator)

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
        logits, start = torch.zeros((), device=seen.features.device), 0
        text: Tensor | None = None
        for name, weight, part in zip(self.options.parts.split(), self.weights, heard, strict=True):
            own = features[start : start + len(part.texts(seen))]
            start += len(own)
            output = part.compare(seen, own) if weight else None
            if output is not None:
                logits = logits + weight * output.logits
            if name == self.options.names:
                text = output.text if output is not None else own[0][0]
        assert text is not None
        return Output(logits, seen.features, text)

    def prepare_patches(self, states: Tensor, labels: Tensor) -> None:
        for part in self.each():
            if part.facts.shown_patches:
                part.prepare_patches(states, labels)

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
        """Of classes that it has learned all parts speak, of others those that take new names."""
        known = [name for name in names if name in self.task.class_names]
        new = [name for name in names if name not in self.task.class_names]
        if new and not self.options.new_weights:
            return self.part(self.options.names).for_classes(names)
        if not new:
            return self._among(known, range(len(self.weights)), self.options)
        voice = self._voice(new)
        if not known:
            return voice
        gate = self._voice(known) if self.options.gated else None
        return Beside(self, self.for_classes(known), voice, gate, names)

    def _voice(self, names: Sequence[str]) -> Method:
        """What speaks of names that were not learned; it has an answer for learned ones, too."""
        weights = _numbers(self.options, "new_weights")
        used = [i for i, weight in enumerate(weights) if weight]
        parts = self.options.parts.split()
        options = Options(
            " ".join(parts[i] for i in used),
            " ".join(f"{weights[i]:.6g}" for i in used),
            self.options.names if self.options.names in [parts[i] for i in used] else parts[used[0]],
        )
        return self._among(names, used, options)

    def _among(self, names: Sequence[str], used: Sequence[int], options: OptionSet) -> Blend:
        parts = list(self.each())
        task = replace(self.task, class_names=tuple(names))
        made = [parts[i].for_classes(names) for i in used]
        return Blend(self.backbone, task, options, parts=made).train(self.training)

    def extend(self, names: Sequence[str]) -> Method:
        """The part that takes further names goes on alone."""
        return self.part(self.options.names).extend(names)

    def trainable_parameters(self) -> int:
        """Learned numbers of all parts, also of those that take no steps."""
        return sum(p.numel() for part in self.each() if part.facts.learns for p in part.parameters())


class Beside(Method):
    """Classes that a blend has learned and others side by side, in the order that was asked for."""

    Options = Options
    facts = FACTS
    blend: Blend
    learned: Method
    new: Method
    gate: Method | None

    def __init__(
        self, blend: Blend, learned: Method, new: Method, gate: Method | None, names: Sequence[str]
    ) -> None:
        task = replace(blend.task, class_names=tuple(names))
        super().__init__(blend.backbone, task, blend.options)
        self.learned, self.new, self.gate = learned, new, gate
        self.facts = replace(FACTS, needs=learned.facts.needs | new.facts.needs)
        self.__dict__["blend"] = blend  # its tensors are those of the two
        place = {name: i for i, name in enumerate((*learned.task.class_names, *new.task.class_names))}
        self.order = [place[name] for name in names]

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        heard = [self.learned, self.new, *([] if self.gate is None else [self.gate])]
        return [text for method in heard for text in method.texts(seen)]

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        """text: of the parts that take further names."""
        count = len(self.learned.texts(seen))
        both = count + len(self.new.texts(seen))
        known = self.learned.compare(seen, features[:count])
        new = self.new.compare(seen, features[count:both])
        of_known, of_new = known.logits, new.logits + self.options.new_offset
        if self.gate is not None:
            heard = self.gate.compare(seen, features[both:]).logits
            of_known = of_known.log_softmax(dim=-1)
            if self.options.gated_by == "best":
                of_known = of_known + heard.amax(dim=-1, keepdim=True)
            else:
                of_known = of_known + heard.logsumexp(dim=-1, keepdim=True) - log(of_known.shape[-1])
                of_new = of_new - log(of_new.shape[-1])
        logits = torch.cat([of_known, of_new], dim=-1)
        text = torch.cat([known.text, new.text], dim=-2)
        return Output(logits[:, self.order], known.image, text[..., self.order, :])

    def for_classes(self, names: Sequence[str]) -> Method:
        return self.blend.for_classes(names)

    def extend(self, names: Sequence[str]) -> Method:
        return self.blend.extend(names)


def _may_take_part(facts: Facts) -> bool:
    """Whether it works on kept features, or on patches that it is shown before any training."""
    kept = facts.cached or (facts.shown_patches and not facts.takes_steps)
    return kept and not facts.per_image_text


def _taught(options: Options) -> str | None:
    """The part that takes steps; OptionError where there are several, or a part is a blend itself."""
    names = options.parts.split()
    if any(name.partition("+")[0] == "blend" for name in names):
        raise OptionError("blend: a blend is no part of another")
    taught = [name for name in names if load(method_of(name)).facts.takes_steps]
    if len(taught) > 1:
        raise OptionError(f"blend: of {options.parts}, one at most may take training steps")
    return taught[0] if taught else None


METHOD = Blend
