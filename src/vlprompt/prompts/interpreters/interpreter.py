"""What every interpreter of prompts can do."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.prompts.tokens import ImagePrompt, TextPrompt


class Interpreter(Protocol):
    """Evaluates prompts on the towers of one backbone.

    budget: bytes that activations may take in one step. kept_as: the kind under which features of texts that do not
    learn are remembered (`interpreters/fixed.py`); None: nothing is.
    """

    backbone: Backbone
    budget: int
    kept_as: str | None

    def text(self, prompt: TextPrompt) -> Tensor:
        """Unit-length text features of every row under every prefix, [G, C, d]."""
        ...

    def image(self, pixels: Tensor, prompt: ImagePrompt | None = None) -> Tensor:
        """Unit-length image features, [B, d].

        pixels: [B, 3, H, W], or what `backbone.stem` made of them, where the image tower has a stem.
        """
        ...

    def image_and_inserted(self, pixels: Tensor, prompt: ImagePrompt) -> tuple[Tensor, Tensor]:
        """Unit-length image features [B, d], and the last states of the inserted tokens, [B, n, W], behind the tower's
        last norm, not projected."""
        ...
