"""KgCoOp: CoOp whose text features are kept near those of the hand-written template.

    [SOS][v_1]..[v_n][name].[EOT]
    L = CE + lambda mean_c |w_c - t_c|^2          w_c: text feature of class c; t_c: frozen feature of its template

Source: Yao et al., "Visual-Language Prompt Tuning with Knowledge-guided Context Optimization", CVPR 2023, section 3.
The published code computes 1 - cos(w_c, t_c), which is half of the paper's squared distance of unit vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from vlprompt.methods import coop
from vlprompt.methods.base import Facts, Method, Recipe, Seen
from vlprompt.methods.published import PublishedShapes
from vlprompt.options import option
from vlprompt.prompts.tokens import FrozenText, Output, Text

FACTS = Facts(
    title="KgCoOp",
    paper="Yao et al., CVPR 2023",
    link="https://arxiv.org/abs/2303.13283",
    order=52,
    recipe=Recipe(epochs=100, batch=128, lr=0.002),
    zero_shot_start=True,
    says_template=True,
    published_marks=("prompt_learner.ctx", "*bias_vectors", "*.meta_net.linear1.*"),
    published_unused=("*bias_vectors", "prompt_learner.meta_net.*"),
    plain_words="words around the names, held near the usual ones",
    colour="#56B4E9",
    marker="4",
)


@dataclass(frozen=True)
class Options(coop.Options):
    context_tokens: int = option(4, "learned tokens; without effect if context_init is given", low=1, high=64)
    context_init: str = option("a photo of a", "words whose embeddings start the context")
    weight: float = option(8.0, "lambda: weight of the distance from the template's features", low=0)
    reference: str = option(
        "paper",
        "the distance: |w - t|^2, or 1 - cos, half of it (published code)",
        choices=("paper", "published_code"),
    )


class NearTemplate(Method):
    """What is near the template's frozen features in training, by the options `weight` and `reference`.

    `texts` of a subclass ends with the template's in training.
    """

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        text, *teacher = features
        return with_teacher(super().compare(seen, [text]), teacher)

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        return super().loss(output, labels) | distance_term(output, self.options.reference)

    def loss_weights(self) -> dict[str, float]:
        return {"distance": self.options.weight}


class KgCoOp(NearTemplate, coop.CoOp):
    """In training, `extra` holds the frozen features of the template ("teacher_text", [C, d])."""

    Options = Options
    facts = FACTS

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        own = super().texts(seen)
        return [*own, FrozenText(self.task.class_names, self.task.templates)] if self.training else own

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        return super().published_options(shapes, wrapped) | {"reference": "published_code"}


def with_teacher(output: Output, teacher: Sequence[Tensor]) -> Output:
    """The output with the frozen text features, [1, C, d], if there are any."""
    if not teacher:
        return output
    return replace(output, extra=output.extra | {"teacher_text": teacher[0][0]})


def distance_term(output: Output, reference: str) -> dict[str, Tensor]:
    """How far text features are from the frozen ones, mean over all classes."""
    if "teacher_text" not in output.extra:
        return {}
    apart = 1 - (output.text * output.extra["teacher_text"]).sum(dim=-1).mean()
    return {"distance": apart if reference == "published_code" else 2 * apart}


METHOD = KgCoOp
