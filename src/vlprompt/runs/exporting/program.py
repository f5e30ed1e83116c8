"""The computation that is exported, as plain modules: pictures in, logits and probabilities out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.feeding.inputs import live_batch
from vlprompt.methods.base import Method
from vlprompt.runs.exporting.tracing import Traced, interpreted


class Compared(nn.Module):
    """Pixels -> logits: what the method sees in them, compared with its texts.

    texts: their features as constants; None: they differ by picture, and the text tower becomes part of the program.
    The method's interpreter has to be `interpreter` while it runs.
    """

    def __init__(self, method: Method, interpreter: Traced, texts: Sequence[Tensor] | None) -> None:
        super().__init__()
        self.method, self.image = method, method.backbone.image
        self.text = interpreter.tower if texts is None else None
        self.constants = len(texts) if texts is not None else 0
        for i, features in enumerate(texts or ()):
            self.register_buffer(f"text_{i}", features.detach().clone())

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, C]."""
        seen = self.method.see(live_batch(self.method.backbone, self.method.facts.needs, pixels))
        if self.text is not None:
            return self.method.compare(seen, self.method.read(self.method.texts(seen))).logits
        constants = [getattr(self, f"text_{i}") for i in range(self.constants)]
        return self.method.compare(seen, constants).logits


class Program(nn.Module):
    """Pictures -> (logits, probabilities), [B, C] each; normalisation and temperature are inside.

    pixels: "uint8" for pictures [B, S, S, 3] from 0 to 255, "float" for [B, 3, S, S] from 0 to 1.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, logits: nn.Module, preprocessing: Preprocessing, pixels: str, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.logits, self.pixels, self.temperature = logits, pixels, temperature
        self.register_buffer("pixel_mean", torch.tensor(preprocessing.mean)[:, None, None])
        self.register_buffer("pixel_std", torch.tensor(preprocessing.std)[:, None, None])

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        values = pictures
        if self.pixels == "uint8":
            values = pictures.permute(0, 3, 1, 2).float() / 255
        logits = self.logits((values - self.pixel_mean) / self.pixel_std)
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return logits, logits.softmax(dim=-1)


@contextmanager
def program_of(method: Method, pixels: str, temperature: float = 1.0) -> Iterator[Program]:
    """The program of a method; it can be traced inside the `with`, where the method runs on another interpreter."""
    preprocessing = method.backbone.preprocessing
    texts = method.eval().constant_texts()
    interpreter = Traced(method.backbone)
    with interpreted(method, interpreter):
        size = preprocessing.size
        logits = Compared(method, interpreter, texts)
        with torch.no_grad():
            logits(
                torch.zeros(1, 3, size, size)
            )  # whatever it computes once is known now, and a constant too
        yield Program(logits, preprocessing, pixels, temperature)
