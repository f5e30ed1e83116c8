"""The interpreter of prompts that can be exported: any number of pictures, nothing kept, no choices on values.

Where the prompts do not depend on the picture, text features are constants: they come from the method's own
interpreter and are written into the program. Where they do, the text tower becomes part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.methods.base import Batch, Method
from vlprompt.prompts.interpreters.entering import image_and_inserted, row_features
from vlprompt.prompts.tokens import ImagePrompt, TextPrompt


class Traced:
    """Text features that are constants are given out again in the order in which the method asked for them."""

    budget = 1 << 62

    def __init__(self, method: Method) -> None:
        self.backbone: Backbone = method.backbone
        self.own = method.interpreter
        self.fixed = not method.per_image_text
        self.tower = self.backbone.text.without_vocabulary()
        self.known: Sequence[Tensor] = ()
        self.asked: list[Tensor] | None = None
        self.at = 0

    def text(self, prompt: TextPrompt) -> Tensor:
        if not self.fixed:
            return row_features(self.tower, prompt)
        if self.asked is not None:
            self.asked.append(self.own.text(prompt))
            return self.asked[-1]
        self.at += 1
        return self.known[self.at - 1]

    def image(self, pixels: Tensor, prompt: ImagePrompt | None = None) -> Tensor:
        return self.backbone.image(pixels) if prompt is None else self.image_and_inserted(pixels, prompt)[0]

    def image_and_inserted(self, pixels: Tensor, prompt: ImagePrompt) -> tuple[Tensor, Tensor]:
        return image_and_inserted(self.backbone.vit, prompt, pixels)

    def record(self, method: Method, batch: Batch) -> None:
        """Learns what the method asks for; it must have been called once before, so that it keeps what it keeps."""
        self.asked = []
        method(batch)
        self.known, self.asked = self.asked, None


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
