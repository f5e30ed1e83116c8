"""What every interpreter of prompts can do."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.prompts.tokens import ImagePrompt, TextPrompt


class Interpreter(Protocol):
    """Turns prompts into features of unit length.

    budget: bytes that activations may take in one step. kept_as: the kind under which features of texts that do not
    learn are remembered; None: nothing is.
    """

    backbone: Backbone
    budget: int
    kept_as: str | None

    def text(self, prompt: TextPrompt) -> Tensor:
        """Features of every row under every prefix, [G, C, d]."""
        ...

    def image(self, pixels: Tensor, prompt: ImagePrompt | None = None) -> Tensor:
        """[B, 3, H, W] -> [B, d]."""
        ...
