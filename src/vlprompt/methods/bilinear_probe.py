"""Bilinear probe: a linear probe whose class weights are made from the class names, so that it answers for new names too.

    logit_c(x) = s f(x) . t_c / T + t_c . M f(x) + v_c . f(x)
    min_{M, v}  strength sum_i CE + |M|^2 / 2 + |v|^2 / (2 own)

f(x), t_c: unit-length features of picture and name (the template's, or the mean of several); T: the one temperature that
suits zero-shot best on the training pictures. M, [d, d], learns what pictures and names of the classes have in common, and says it
of every other name; v_c what the name does not say, 0 for names that were not learned. Both are 0 before learning, and the penalty
keeps the answer near zero-shot. Convex, solved once.

A class's weight is linear in its name, as in zero-shot learning from attributes and names (Akata et al., "Label-Embedding for
Attribute-Based Classification", CVPR 2013; Romera-Paredes and Torr, ICML 2015, with a squared loss). Starting from a
vision-language model's own answer at a fitted temperature, and the vectors beside the names, are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlprompt.errors import TrainingError
from vlprompt.methods.base import Facts, Method, Recipe, Seen
from vlprompt.methods.penalty_choice import Logits, best_strength
from vlprompt.methods.softmax_regression import bilinear_regression
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import FrozenText, Output, Text
from vlprompt.temperature import fit_temperature

FACTS = Facts(
    title="Bilinear probe",
    paper="weights from names: Akata et al., CVPR 2013; from zero-shot on: ours",
    link="https://openaccess.thecvf.com/content_cvpr_2013/html/Akata_Label-Embedding_for_Attribute-Based_2013_CVPR_paper.html",
    order=25,
    per_step="nothing: solved once",
    recipe=Recipe(epochs=0),  # no steps; the training pictures are seen as the test crop
    trains=False,
    prompts_hold_names=False,
    learns_words=False,
    zero_shot_start=True,
    says_template=True,
    plain_words="how pictures and names fit together, in one go",
    colour="#0B7A75",
    marker="P",
)
STRENGTHS = (1.0, 10.0, 100.0, 1000.0, 10000.0)
USUAL = 100.0  # where there is nothing to choose with


@dataclass(frozen=True)
class Options(OptionSet):
    strength: float = option(
        0.0, "inverse weight of the penalty on what differs from zero-shot; 0: the best on validation", low=0
    )
    own: float = option(
        0.3, "freedom of what a class learns beside its name, as a share of what names share", low=0
    )
    folds: int = option(
        3, "parts of the cross-validation where there are no validation pictures", low=2, high=20
    )


class BilinearProbe(Method):
    """In later sessions what was learned is the start, and the penalty is on what is added to it."""

    Options = Options
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        size, device = self.backbone.embed_dim, self.backbone.device
        self.own = nn.Parameter(torch.zeros(len(self.task.class_names), size, device=device))
        self.map = nn.Parameter(torch.zeros(size, size, device=device))
        self.temperature = nn.Parameter(torch.ones((), device=device))

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return [FrozenText(self.task.class_names, self.task.templates)]

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        image, text = seen.features, features[0][0]
        return Output(self.answer(image, text), image, text)

    def answer(self, image: Tensor, text: Tensor) -> Tensor:
        """[B, d] and [C, d] -> [B, C]."""
        return self.logits(image, text) / self.temperature + image @ (text @ self.map + self.own).t()

    @torch.no_grad()
    def prepare(self, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        pictures, y = features.flatten(0, 1), np.tile(labels.cpu().numpy(), len(features))
        if not len(y):
            raise TrainingError(f"{self.facts.title} needs at least one training picture")
        text = self.frozen_text()
        if not (self.map.any() or self.own.any()):
            self.temperature.fill_(fit_temperature(self.logits(pictures, text).cpu().numpy(), y))
        learner = _Learner(self, text)
        held = learner.rows(val_features), val_labels.cpu().numpy()
        x = learner.rows(pictures)
        strength = self.options.strength or best_strength(
            x, y, held, learner, STRENGTHS, self.options.folds, USUAL
        )
        added = torch.from_numpy(learner.solved(x, y, strength)).to(self.map)
        size = text.shape[1]
        self.map.add_(added[:size])
        self.own.add_(added[size:] * self.options.own**0.5)

    def for_classes(self, names: Sequence[str]) -> Method:
        other = super().for_classes(names)
        assert isinstance(other, BilinearProbe)
        known = dict(zip(self.task.class_names, self.own.detach(), strict=True))
        nothing = torch.zeros_like(self.map[0])
        other.own = nn.Parameter(torch.stack([known.get(name, nothing) for name in names]))
        return other


class _Learner:
    """Solves for what is added, [d + C, d]: the map, and below it the classes' own vectors over the root of their share.

    Rows hold a picture's feature and, behind it, the logits that the method gives already.
    """

    def __init__(self, method: BilinearProbe, text: Tensor) -> None:
        self.method, self.text = method, text
        own = np.eye(len(text)) * method.options.own**0.5
        self.vectors = np.concatenate([text.double().cpu().numpy(), own], axis=1)
        self.classes = np.arange(len(text))

    def rows(self, features: Tensor) -> np.ndarray:
        """[N, d] -> [N, d + C]."""
        given = self.method.answer(features, self.text)
        return torch.cat([features, given], dim=1).double().cpu().numpy()

    def solved(self, rows: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
        x, given = self._apart(rows)
        return bilinear_regression(x, labels, self.vectors, given, strength)

    def __call__(self, rows: np.ndarray, labels: np.ndarray, strength: float) -> tuple[Logits, np.ndarray]:
        added = self.solved(rows, labels, strength)

        def logits(others: np.ndarray) -> np.ndarray:
            x, given = self._apart(others)
            return np.asarray(given + x @ (self.vectors @ added).T)

        return logits, self.classes

    def _apart(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d = rows.shape[1] - len(self.classes)
        return rows[:, :d], rows[:, d:]


METHOD = BilinearProbe
