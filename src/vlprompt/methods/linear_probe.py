"""Linear probe: logistic regression on the frozen image features; class names play no part.

    logit_c(x) = w_c . f(x) + b_c        min_{w, b}  sum_i CE + |w|^2 / (2 strength)

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
section 3.2. The strength is the one that does best on the validation pictures, or in cross-validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlprompt.errors import OptionError, TrainingError
from vlprompt.methods.base import Facts, Method, Recipe, Seen
from vlprompt.methods.penalty_choice import Logits, best_strength
from vlprompt.methods.softmax_regression import softmax_regression
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import Output, Text
from vlprompt.prompts.words import check_names

FACTS = Facts(
    title="Linear probe",
    paper="Radford et al., ICML 2021",
    link="https://arxiv.org/abs/2103.00020",
    order=20,
    per_step="nothing: solved once",
    recipe=Recipe(epochs=0),  # no steps; the training pictures are seen as the test crop
    trains=False,
    takes_new_names=False,
    prompts_hold_names=False,
    learns_words=False,
    plain_words="no words at all: pictures only",
    colour="#1b1f24",
    marker="x",
)
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)  # features have length 1, so large ones do well
WITHOUT_CHOICE = 10.0  # where there is nothing to choose with: one picture of a class, no validation pictures
NEVER = -1e4  # logit of classes without a training picture


@dataclass(frozen=True)
class Options(OptionSet):
    strength: float = option(
        0.0, "inverse weight of the penalty (scikit-learn's C); 0: the best on validation", low=0
    )
    folds: int = option(
        3, "parts of the cross-validation where there are no validation pictures", low=2, high=20
    )


class LinearProbe(Method):
    Options = Options
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = check_names(self.task.class_names)
        self.weight = nn.Parameter(
            torch.zeros(len(names), self.backbone.embed_dim, device=self.backbone.device)
        )
        self.bias = nn.Parameter(torch.zeros(len(names), device=self.backbone.device))

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return []

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        """text: the class vectors, [C, d]."""
        return Output(seen.features @ self.weight.t() + self.bias, seen.features, self.weight)

    @torch.no_grad()
    def prepare(self, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        x, y = features.flatten(0, 1).double().cpu().numpy(), np.tile(labels.cpu().numpy(), len(features))
        if len(np.unique(y)) < 2:
            raise TrainingError("a linear probe needs training pictures of at least two classes")
        held = val_features.double().cpu().numpy(), val_labels.cpu().numpy()
        strength = self.options.strength or best_strength(
            x, y, held, _learned, STRENGTHS, self.options.folds, WITHOUT_CHOICE
        )
        known, numbers = np.unique(y, return_inverse=True)
        found = softmax_regression(x, numbers, strength)
        rows = torch.from_numpy(known).to(self.weight.device)
        self.weight.zero_()
        self.bias.fill_(NEVER)
        self.weight[rows] = torch.from_numpy(found.weight).to(self.weight)
        self.bias[rows] = torch.from_numpy(found.bias).to(self.bias)

    def for_classes(self, names: Sequence[str]) -> Method:
        """The classes it was trained on, or some of them, in any order; OptionError for others."""
        known = {name: i for i, name in enumerate(self.task.class_names)}
        new = [name for name in names if name not in known]
        if new:
            raise OptionError(
                f'a linear probe knows only the classes it was trained on, and "{new[0]}" is not one of them: '
                "use a method that learns prompts, or tip_adapter"
            )
        other = super().for_classes(names)
        assert isinstance(other, LinearProbe)
        rows = [known[name] for name in names]
        other.weight, other.bias = (nn.Parameter(p.detach()[rows]) for p in (self.weight, self.bias))
        return other


def _learned(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[Logits, np.ndarray]:
    """A probe for the labels that occur, and these."""
    known, numbers = np.unique(y, return_inverse=True)
    return softmax_regression(x, numbers, strength).logits, known


METHOD = LinearProbe
