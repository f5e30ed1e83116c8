"""Patch map: one matrix over the patches of a picture, read by frozen class names.

    logit_c(x) = s mean_p l_pc(x)        l_pc = mean of the k_p largest over patches j of normalise(P V u_j) . t_c
    L = CE                               V = 1 before learning

u_j: last states of the patches where the last attention of each is its own value alone; P: the tower's projection; t_c: the name's
frozen text feature. Texts do not learn, so that a step reads none, and few steps from V = 1 leave what the backbone knows of
other names.

The map and the best patches are the local half of GalLoP (Lafon et al., ECCV 2024, section 3); frozen names in place of
learned prompts, and a handful of steps with all pictures, are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.errors import TrainingError
from vlprompt.methods.base import Facts, Method, Recipe, Seen
from vlprompt.methods.best_patches import best_patches, check_counts, patch_counts
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import FrozenText, Output, Text

FACTS = Facts(
    title="Patch map",
    paper="map and best patches: Lafon et al., ECCV 2024; frozen names: ours",
    link="https://arxiv.org/abs/2407.01400",
    order=76,
    needs={"features", "patch_states"},
    per_step="nothing: a few steps of its own, with all pictures",
    recipe=Recipe(epochs=0),  # its few steps are its own; the training pictures are seen as the test crop
    trains=False,
    shown_patches=True,
    prompts_hold_names=False,
    learns_words=False,
    says_template=True,
    plain_words="which parts of a picture fit the names",
    colour="#5B3A8C",
    marker="h",
)

AT_ONCE = 16384  # patches


@dataclass(frozen=True)
class Options(OptionSet):
    steps: int = option(15, "steps with all pictures", low=1, high=10000)
    lr: float = option(0.001, "AdamW's rate at the first step; it falls along a cosine", low=0)
    patches: str = option(
        "5,10,15,20", "how many of the best patches a name looks at: their means are averaged"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self.patches)


class PatchMap(Method):
    Options = Options
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.map = nn.Parameter(torch.eye(self.backbone.image_width, device=self.backbone.device))

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return [FrozenText(self.task.class_names, self.task.templates)]

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        text = features[0][0]
        local, logits = self._look(seen.extra["states"], text, self.map)
        return Output(logits, seen.features, text, {"local": local})

    def _look(self, states: Tensor, text: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the patches [B, N, d] and logits [B, C]. states: [B, N, width]; text: [C, d]; matrix: the map."""
        local = self.backbone.vit.project(states, matrix)
        counts = patch_counts(self.options.patches)
        found = best_patches(local, text.expand(len(counts), -1, -1), counts).mean(dim=1)
        return local, self.backbone.scaled(found)

    @torch.enable_grad()
    def prepare_patches(self, states: Tensor, labels: Tensor) -> None:
        if not len(labels):
            raise TrainingError(f"{self.facts.title} needs at least one training picture")
        text, steps = self.frozen_text(), self.options.steps
        # of its own, since a blend says which of its parts' tensors take the training loop's steps
        learned = self.map.detach().clone().requires_grad_(True)
        optimizer = torch.optim.AdamW([learned], lr=self.options.lr, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        parts = list(torch.arange(len(labels)).split(max(1, AT_ONCE // states.shape[1])))
        for _ in range(steps):
            optimizer.zero_grad()
            for part in parts:
                _, logits = self._look(states[part], text, learned)
                (F.cross_entropy(logits, labels[part], reduction="sum") / len(labels)).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            self.map.copy_(learned)


METHOD = PatchMap
