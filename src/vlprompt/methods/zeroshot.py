"""Zero-shot CLIP: class names in templates, nothing is learned.

Source: Radford et al., ICML 2021, section 3.1. With several templates the normalised features of
each are averaged and normalised again.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.towers.transformer import normalise
from vlprompt.methods.base import Batch, Edit, Method
from vlprompt.prompts.tokens import Output, Prompts
from vlprompt.prompts.words import check_names, template_prompt

# Runs of one process that have classes in common compute these once; the latest few are kept.
_KNOWN: WeakKeyDictionary[Backbone, dict[Any, Tensor]] = WeakKeyDictionary()
MOST_KNOWN = 16


class ZeroShot(Method):
    title = "Zero-shot CLIP"
    paper = "Radford et al., ICML 2021"
    learns = False
    says_template = True
    zero_shot_start = True
    per_step = "nothing"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = check_names(self.task.class_names)
        self._prompts = [template_prompt(self.backbone, names, t) for t in self.task.templates]
        self._features: Tensor | None = None

    def prompts(self, image_features: Tensor | None = None) -> Prompts:
        """The prompt of the first template."""
        return Prompts(self._prompts[0])

    def text_features(self) -> Tensor:
        """Mean over templates, unit length: [C, d]."""
        if self._features is None:
            known = _KNOWN.setdefault(self.backbone, {})
            kind, task = type(self.interpreter), self.task
            key = kind, task.class_names, task.templates, self.backbone.device, self.backbone.dtype
            if key not in known:
                with torch.no_grad():
                    each = [self.interpreter.text(p)[0] for p in self._prompts]
                    known[key] = each[0] if len(each) == 1 else normalise(torch.stack(each).mean(0))
                if len(known) > MOST_KNOWN:
                    del known[next(iter(known))]
            self._features = known[key]
        return self._features

    def forward(self, batch: Batch, edit: Edit | None = None) -> Output:
        if edit is not None:
            return super().forward(batch, edit)
        image = self.frozen_features(batch)
        return self.output(image, self.text_features())


METHOD = ZeroShot
