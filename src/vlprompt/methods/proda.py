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
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.methods.base import Batch, Edit, Method, Recipe
from vlprompt.options import OptionSet, option
from vlprompt.prompts.placing import Placing
from vlprompt.prompts.tokens import Output, Prompts, TextPrompt, join_rows
from vlprompt.prompts.words import check_names, placeholder_template, template_prompt
from vlprompt.seeds import generator


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
    title = "ProDA"
    paper = "Lu et al., CVPR 2022"
    recipe = Recipe(epochs=100, batch=16, lr=0.001, weight_decay=0.0, warmup_epochs=0)
    per_step = "text tower over all classes, once per prompt of the batch"
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
        self._mean: tuple[object, Tensor] | None = None

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

    def prompts(self, image_features: Tensor | None = None) -> Prompts:
        """The step's prompts as rows behind [SOS]; `forward` evaluates them with more in common."""
        texts = [self._rows(place, members) for place, members in self._by_place(self.chosen())]
        return Prompts(reduce(join_rows, texts))

    def _by_place(self, chosen: Sequence[int]) -> list[tuple[str, list[int]]]:
        groups: dict[str, list[int]] = {}
        for p in chosen:
            groups.setdefault(self._places[p], []).append(p)
        return list(groups.items())

    def _rows(self, place: str, members: Sequence[int]) -> TextPrompt:
        """Rows of every class, prompt after prompt."""
        classes = len(self.task.class_names)
        return self._placing[place].rows(self.context[list(members)].repeat_interleave(classes, dim=0))

    def features(self, chosen: Sequence[int], edit: Edit | None = None) -> Tensor:
        """Unit-length text features, [1, P, C, d]; rows that edit adds: [k, P, C, d]. chosen: in rising order."""
        classes, found = len(self.task.class_names), []
        for place, members in self._by_place(chosen):
            at_end = place == "end"  # then the context is a prefix that the classes share
            text = (
                self._placing[place].shared(self.context[members]) if at_end else self._rows(place, members)
            )
            part = self.interpreter.text(text if edit is None else edit(text))
            if at_end:
                found.append(part.unflatten(1, (-1, classes)).transpose(0, 1))
            else:
                found.append(part[0].unflatten(0, (-1, len(members), classes)))
        return torch.cat(found, dim=1)

    def context_features(self) -> Tensor:
        """Text features of all contexts without a name, [P, d]."""
        return self.interpreter.text(self._bare.with_context(self.context))[:, 0]

    # -- outputs and losses ----------------------------------------------------------------------

    def forward(self, batch: Batch, edit: Edit | None = None) -> Output:
        """text: mu_c, shorter than 1. In training `extra` holds the features of the step's prompts and contexts."""
        image = self.frozen_features(batch)
        if not self.training:
            return self.output(
                image,
                self._mean_of_all()
                if edit is None
                else self.features(self.chosen(), edit).mean(dim=1).flatten(0, 1),
            )
        each = self.features(self.chosen(), edit)
        self.drawn[1] += 1
        extra = {"prompts": each[0]}
        if self.options.orthogonality and len(self.context) > 1:
            extra["contexts"] = self.context_features()
        return self.output(image, each.mean(dim=1).flatten(0, 1), **extra)

    def combine(self, batch: Batch, text: Tensor) -> Output:
        """What `forward` makes of text features that were computed apart, [C, d]."""
        return self.output(self.frozen_features(batch), text)

    def _mean_of_all(self) -> Tensor:
        """mu_c over all prompts, computed once as long as they do not change."""
        if torch.is_grad_enabled():
            return self.features(self.chosen()).mean(dim=1)[0]
        state = (self.context.data_ptr(), self.context._version)
        if self._mean is None or self._mean[0] != state:
            self._mean = (state, self.features(self.chosen()).mean(dim=1)[0])
        return self._mean[1]

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
