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

from vlprompt.backbones.towers.transformer import wide
from vlprompt.methods.base import Batch, Facts, Method, Recipe, Seen
from vlprompt.methods.best_patches import best_patches, check_counts, patch_counts
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import FrozenText, Output, Text

FACTS = Facts(
    title="Patch map",
    paper="map and best patches: Lafon et al., ECCV 2024; frozen names: ours",
    link="https://arxiv.org/abs/2407.01400",
    order=76,
    needs={"features", "patch_states"},
    per_step="a matrix over all patches",
    recipe=Recipe(epochs=15, batch=-1, lr=0.001, optimizer="adamw", weight_decay=0.0, warmup_epochs=0),
    prompts_hold_names=False,
    learns_words=False,
    says_template=True,
    plain_words="which parts of a picture fit the names",
    colour="#5B3A8C",
    marker="h",
)


@dataclass(frozen=True)
class Options(OptionSet):
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

    def see(self, batch: Batch) -> Seen:
        features, states = batch.features, batch.patch_states
        if features is None or states is None:
            assert batch.pixels is not None
            features, states = self.backbone.patch_states(batch.pixels)
        return Seen(features, extra={"states": states})

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        text = features[0]  # [1, C, d]
        local = self.backbone.vit.project(F.linear(wide(seen.extra["states"]), self.map))
        counts = patch_counts(self.options.patches)
        found = best_patches(local, text.expand(len(counts), -1, -1), counts).mean(dim=1)
        return Output(self.backbone.scaled(found), seen.features, text[0], {"local": local})


METHOD = PatchMap
