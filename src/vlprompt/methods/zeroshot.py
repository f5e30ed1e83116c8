"""Zero-shot CLIP: class names in templates, nothing is learned.

Source: Radford et al., ICML 2021, section 3.1. With several templates the normalised features of
each are averaged and normalised again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vlprompt.methods.base import Facts, Method, Seen
from vlprompt.prompts.tokens import FrozenText, Text
from vlprompt.prompts.words import check_names

FACTS = Facts(
    title="Zero-shot CLIP",
    paper="Radford et al., ICML 2021",
    link="https://arxiv.org/abs/2103.00020",
    order=10,
    per_step="nothing",
    learns=False,
    prompts_hold_names=False,
    learns_words=False,
    zero_shot_start=True,
    says_template=True,
    colour="#6E6E6E",
    marker="*",
)


class ZeroShot(Method):
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_names(self.task.class_names)

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return [FrozenText(self.task.class_names, self.task.templates)]

    def text_features(self) -> Tensor:
        """Mean over templates, unit length: [C, d]."""
        return self.frozen_text()


METHOD = ZeroShot
