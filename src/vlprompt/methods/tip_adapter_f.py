"""Tip-Adapter-F: the keys of Tip-Adapter are learned, starting from the training pictures' features.

    logits(x) = s f(x) . g_c + alpha sum_{i: y_i = c} exp(-beta (1 - f(x) . k_i)),   k_i learned; loss: cross entropy

alpha and beta are chosen as in Tip-Adapter, before the keys are learned; the published code starts with 1 and 5.5
and searches afterwards.

Source: Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022.
"""

from __future__ import annotations

from vlprompt.methods.base import Facts, Recipe
from vlprompt.methods.tip_adapter import TipAdapter

FACTS = Facts(
    title="Tip-Adapter-F",
    paper="Zhang et al., ECCV 2022",
    link="https://arxiv.org/abs/2207.09519",
    order=40,
    per_step="nothing but the keys",
    recipe=Recipe(epochs=20, batch=256, lr=0.001, optimizer="adamw", weight_decay=0.01, warmup_epochs=0),
    prompts_hold_names=False,
    learns_words=False,
    zero_shot_start=True,
    says_template=True,
    plain_words="remembers the pictures and tunes that",
    colour="#5B4520",
    marker="2",
)


class TipAdapterF(TipAdapter):
    facts = FACTS
    learn_keys = True


METHOD = TipAdapterF
