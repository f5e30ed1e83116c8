"""Tip-Adapter: zero-shot CLIP plus a vote of the training pictures that look alike; no training.

    logits(x) = s f(x) . g_c + alpha sum_{i: y_i = c} exp(-beta (1 - f(x) . k_i))

k_i: mean feature of training picture i over its views, length 1. alpha and beta are chosen on the validation
pictures; without any, every training picture is judged by the others.

Source: Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.errors import TrainingError
from vlprompt.methods.base import Facts, Method, Recipe, Seen
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import FrozenText, Output, Text
from vlprompt.prompts.words import check_names

FACTS = Facts(
    title="Tip-Adapter",
    paper="Zhang et al., ECCV 2022",
    link="https://arxiv.org/abs/2207.09519",
    order=30,
    per_step="nothing: no steps",
    recipe=Recipe(epochs=10),  # views of each training picture; no steps
    trains=False,
    prompts_hold_names=False,
    learns_words=False,
    zero_shot_start=True,
    says_template=True,
    plain_words="remembers the pictures, learns nothing",
    colour="#8A6D3B",
    marker="1",
)
ALPHA, BETA = 1.0, 5.5  # the published starting values
STEPS, MOST_ALPHA, MOST_BETA = 20, 3.0, 7.0  # the published search: grid and its ends
COSINES = 1 << 26  # of pictures with keys that are held at once


@dataclass(frozen=True)
class Options(OptionSet):
    alpha: float = option(0.0, "weight of the training pictures' vote; 0: the best on validation", low=0)
    beta: float = option(0.0, "how alike a picture has to look to be heard; 0: the best on validation", low=0)


class TipAdapter(Method):
    """Classes that it has no training pictures of keep their zero-shot logits."""

    Options = Options
    facts = FACTS
    learn_keys: ClassVar[bool] = False
    labels: Tensor
    keys: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_names(self.task.class_names)
        opts, device = self.options, self.backbone.device
        # chosen, not learned by steps; with the keys of tip_adapter_f they stay as chosen
        self.alpha = nn.Parameter(torch.tensor(opts.alpha or ALPHA, device=device), not self.learn_keys)
        self.beta = nn.Parameter(torch.tensor(opts.beta or BETA, device=device), not self.learn_keys)
        # room for the shots; label -1: of none of the classes
        room = len(self.task.class_names) * max(1, self.task.shots)
        self.register_buffer("labels", torch.full((room,), -1, device=device))
        self._set_keys(torch.zeros(room, self.backbone.embed_dim, device=device))

    def _set_keys(self, keys: Tensor) -> None:
        if self.learn_keys:
            self.keys = nn.Parameter(keys.clone())
        else:
            self.register_buffer("keys", keys.clone())

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return [FrozenText(self.task.class_names, self.task.templates)]

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        image, text = seen.features, features[0][0]
        # an exported program takes any number of pictures at once
        at_once = max(1, COSINES // max(1, len(self.keys)))
        parts = [image] if torch.compiler.is_compiling() else image.split(at_once)
        votes = torch.cat([self.vote(part @ self.keys.t(), self.alpha, self.beta) for part in parts])
        return Output(self.logits(image, text) + votes, image, text)

    def vote(self, alike: Tensor, alpha: Tensor | float, beta: Tensor | float) -> Tensor:
        """[B, N] cosines with the keys -> [B, C]."""
        known = self.labels >= 0
        votes = torch.exp(-beta * (1 - alike)) * known
        heard = votes.new_zeros(votes.shape[0], len(self.task.class_names))
        return alpha * heard.index_add(1, self.labels.clamp(min=0), votes)

    @torch.no_grad()
    def prepare(self, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        """Pictures of an earlier session stay in the cache."""
        if not len(labels):
            raise TrainingError(f"{self.facts.title} needs at least one training picture")
        keys = F.normalize(features.mean(dim=0), dim=-1)
        held = self.labels >= 0
        self.labels = torch.cat([self.labels[held], labels.to(keys.device)])
        self._set_keys(torch.cat([self.keys.detach()[held], keys]))
        text = self.frozen_text()
        if len(val_labels):
            queries, truth, alike = val_features, val_labels.to(keys.device), val_features @ self.keys.t()
        else:
            queries, truth = self.keys.detach(), self.labels
            alike = (queries @ queries.t()).fill_diagonal_(-torch.inf)  # no picture votes for itself
        self._choose(self.logits(queries, text), alike, truth)

    def _choose(self, zero_shot: Tensor, alike: Tensor, truth: Tensor) -> None:
        """The values with the most hits; of equal ones those with the lower loss."""
        opts = self.options
        alphas = [opts.alpha] if opts.alpha else [MOST_ALPHA * (i + 1) / STEPS for i in range(STEPS)]
        betas = [opts.beta] if opts.beta else [MOST_BETA * (i + 1) / STEPS for i in range(STEPS)]
        best = (-1.0, 0.0)
        for beta in betas:
            votes = self.vote(alike, 1.0, beta)
            for alpha in alphas:
                logits = zero_shot + alpha * votes
                hits = float((logits.argmax(-1) == truth).sum())
                if hits < best[0]:
                    continue
                score = (hits, -float(F.cross_entropy(logits, truth)))
                if score > best:
                    best = score
                    self.alpha.fill_(alpha)
                    self.beta.fill_(beta)

    def for_classes(self, names: Sequence[str]) -> Method:
        """Pictures of classes that are not among the names are not heard."""
        keys = self.keys
        other = super().for_classes(names)
        assert isinstance(other, TipAdapter)
        if not self.learn_keys:
            other.keys = keys
        place = {name: i for i, name in enumerate(names)}
        rows = [place.get(name, -1) for name in self.task.class_names] + [-1]  # the last for those at -1 now
        other.labels = torch.tensor(rows, device=keys.device)[self.labels]
        return other

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Makes room for as many pictures as a saved state has."""
        for name in ("keys", "labels"):
            held = state_dict.get(prefix + name)
            if held is not None and held.shape != getattr(self, name).shape:
                empty = torch.zeros_like(held, device=self.backbone.device)
                self._set_keys(empty) if name == "keys" else setattr(self, name, empty)
        super()._load_from_state_dict(state_dict, prefix, *args)


METHOD = TipAdapter
