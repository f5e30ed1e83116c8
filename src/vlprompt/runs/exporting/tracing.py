"""The interpreter of prompts that can be exported: any number of pictures, nothing kept, no choices on values.

Where the prompts do not depend on the picture, text features are constants that the program is given, and the text tower
is not asked. Where they do, it becomes part of the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.methods.base import Method
from vlprompt.prompts.interpreters.entering import image_and_inserted, row_features
from vlprompt.prompts.tokens import ImagePrompt, TextPrompt


class Traced:
    """Nothing is divided to fit a budget, and texts in words are known from before."""

    kept_as: str | None = "fast"

    def __init__(self, backbone: Backbone) -> None:
        self.backbone, self.budget = backbone, 1 << 62
        self.tower = backbone.text.without_vocabulary()

    def text(self, prompt: TextPrompt) -> Tensor:
        return row_features(self.tower, prompt)

    def image(self, pixels: Tensor, prompt: ImagePrompt | None = None) -> Tensor:
        return self.backbone.image(pixels) if prompt is None else self.image_and_inserted(pixels, prompt)[0]

    def image_and_inserted(self, pixels: Tensor, prompt: ImagePrompt) -> tuple[Tensor, Tensor]:
        return image_and_inserted(self.backbone.vit, prompt, pixels)


@contextmanager
def interpreted(method: Method, interpreter: Any) -> Iterator[None]:
    """The method, and what it wraps, with another interpreter for a while."""
    parts = [part for part in method.modules() if isinstance(part, Method)]
    held = [part.interpreter for part in parts]
    try:
        for part in parts:
            part.interpreter = interpreter
        yield
    finally:
        for part, own in zip(parts, held, strict=True):
            part.interpreter = own
