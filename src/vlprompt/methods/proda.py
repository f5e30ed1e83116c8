"""ProDA: many prompts at once, whose text features of a class are taken as a Gaussian.

    w_c ~ N(mu_c, S)         over P prompts; S^d_cj: covariance between classes c and j in feature dimension d
    A_cy(z) = sum_d z_d^2 (S^d_cc + S^d_yy - 2 S^d_cy)                       variance of z . (w_c - w_y)
    L = CE(s z . mu_c + s^2 / 2 A_cy, y) + lambda mean_{p != q} |g_p . g_q|
    test: s z . mu_c, with mu_c over all prompts

The first term is an upper bound of the expected cross entropy; g_p is the text feature of a context without a
name. A step uses a batch of prompts: a permutation of all is used up, then drawn anew.

Source: Lu et al., "Prompt Distribution Learning", CVPR 2022. The official code is no longer there; two copies of
it in other public projects agree on the losses and on dividing S by the number of prompts + 1, and differ in
lambda (0.1 and 1). They use every batch of pictures once per prompt batch; here each step takes a new one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.methods.base import Batch, Facts, Method, Recipe, Seen
from vlprompt.options import OptionSet, option
from vlprompt.prompts.placing import Placing
from vlprompt.prompts.tokens import Output, Text, TextPrompt
from vlprompt.prompts.words import check_names, placeholder_template, template_prompt
from vlprompt.seeds import generator

FACTS = Facts(
    title="ProDA",
    paper="Lu et al., CVPR 2022",
    link="https://arxiv.org/abs/2205.03340",
    order=70,
    per_step="text tower over all classes, once per prompt of the batch",
    recipe=Recipe(epochs=100, batch=16, lr=0.001, weight_decay=0.0, warmup_epochs=0),
    plain_words="many wordings at once",
    colour="#B8860B",
    marker="p",
)


@dataclass(frozen=True)
class Options(OptionSet):
    prompts: int = option(
        32,
        "prompts: a quarter has the name in front, a quarter in the middle, half at the end",
        low=1,
        high=1024,
    )
    context_tokens: int = option(16, "learned tokens of each", low=1, high=64)
    prompt_batch: int = option(4, "prompts of one step", low=1)
    orthogonality: float = option(0.1, "lambda: weight of keeping the contexts apart", low=0)
    divisor: str = option(
        "prompts+1", "what the covariance is divided by", choices=("prompts+1", "prompts", "prompts-1")
    )


class ProDA(Method):
    Options = Options
    facts = FACTS
    drawn: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts, backbone = self.options, self.backbone
        names = check_names(self.task.class_names)
        count, n = opts.prompts, opts.context_tokens
        self.context = self.normal(count, n, backbone.text_width)
        # seed of the permutations and steps done: with both saved, an interrupted training goes on with the
        # prompts that it would have used
        seed = int(torch.randint(2**31, (1,), generator=self.generator))
        self.register_buffer("drawn", torch.tensor([seed, 0]))
        frozen = template_prompt(backbone, names, placeholder_template(n), prefix_length=1)
        front, middle = count // 4, count // 4
        self._places = ["front"] * front + ["middle"] * middle + ["end"] * (count - front - middle)
        self._placing = {place: Placing(frozen, n, place) for place in dict.fromkeys(self._places)}
        ends = torch.tensor([backbone.tokenizer.encode(".")], device=backbone.device)[:, frozen.start :]
        self._bare = replace(
            frozen, suffix=backbone.text.embed(ends), lengths=(ends.shape[1],), label_counts=()
        )

    # -- prompts ---------------------------------------------------------------------------------

    def chosen(self) -> list[int]:
        """Numbers of the prompts of this step; in evaluation all."""
        count = len(self.context)
        if not self.training:
            return list(range(count))
        seed, step = self.drawn.tolist()
        size = min(self.options.prompt_batch, count)
        turn, part = divmod(step, math.ceil(count / size))
        order = torch.randperm(count, generator=generator(seed, "prompts of a step", turn))
        return sorted(order[part * size : (part + 1) * size].tolist())

    def see(self, batch: Batch) -> Seen:
        """In training it also takes the step's prompts, and counts the step."""
        seen = super().see(batch)
        if not self.training:
            return seen
        chosen = self.chosen()
        self.drawn[1] += 1
        return replace(seen, extra={"chosen": chosen})

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        """The prompts in rising order, one text for each place of the name; in training also all contexts bare."""
        chosen = self.chosen() if seen is None else seen.extra.get("chosen", self.chosen())
        texts = [self._placed(place, members) for place, members in self._by_place(chosen)]
        if self._apart():
            start = self._bare.prefix.expand(len(self.context), -1, -1)
            texts.append(replace(self._bare, prefix=torch.cat([start, self.context], dim=1)))
        return texts

    def _apart(self) -> bool:
        """Whether the contexts are kept apart, for which they are read without a name."""
        return self.training and bool(self.options.orthogonality) and len(self.context) > 1

    def _by_place(self, chosen: Sequence[int]) -> list[tuple[str, list[int]]]:
        groups: dict[str, list[int]] = {}
        for p in chosen:
            groups.setdefault(self._places[p], []).append(p)
        return list(groups.items())

    def _placed(self, place: str, members: list[int]) -> TextPrompt:
        """Every class under every one of these contexts."""
        if place == "end":  # then the context is a prefix that the classes share
            return self._placing[place].shared(self.context[members])
        classes = len(self.task.class_names)
        return self._placing[place].rows(self.context[members].repeat_interleave(classes, dim=0))

    # -- outputs and losses ----------------------------------------------------------------------

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        """text: mu_c, shorter than 1. In training `extra` holds the features of the step's prompts and contexts."""
        apart = self._apart()
        each = torch.cat(list(features[:-1] if apart else features))  # [P, C, d]
        extra = {}
        if self.training:
            extra = {"prompts": each} | ({"contexts": features[-1][:, 0]} if apart else {})
        return self.output(seen.features, each.mean(dim=0), **extra)

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        if "prompts" not in output.extra:
            return super().loss(output, labels)
        each = output.extra["prompts"]
        divisor = {"prompts+1": len(each) + 1, "prompts": len(each), "prompts-1": max(1, len(each) - 1)}
        bound = upper_bound_logits(
            output.image.detach(), each, labels, self.backbone.logit_scale, divisor[self.options.divisor]
        )
        terms = {"bound": F.cross_entropy(bound, labels)}
        if "contexts" in output.extra:
            terms["orthogonality"] = orthogonality(output.extra["contexts"])
        return terms

    def loss_weights(self) -> dict[str, float]:
        return {"orthogonality": self.options.orthogonality}


def upper_bound_logits(image: Tensor, each: Tensor, labels: Tensor, scale: float, divisor: float) -> Tensor:
    """s z . mu_c + s^2 / 2 A_cy, whose cross entropy bounds the expected one. image: [B, d]; each: [P, C, d]."""
    mean = each.mean(dim=0)
    away = each - mean
    squares = image**2  # [B, d]
    own = squares @ (away**2).sum(dim=0).t()  # S_cc, [B, C], times the divisor
    true = own.gather(1, labels[:, None])
    cross = torch.einsum("pbd,pcd->bc", squares * away[:, labels], away)
    return scale * image @ mean.t() + scale**2 / (2 * divisor) * (own + true - 2 * cross)


def orthogonality(contexts: Tensor) -> Tensor:
    """Mean of |g_p . g_q| over pairs of different contexts. contexts: [P, d], unit length."""
    others = ~torch.eye(len(contexts), dtype=torch.bool, device=contexts.device)
    return (contexts @ contexts.t()).abs()[others].mean()


METHOD = ProDA
