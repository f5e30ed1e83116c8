"""The computation that is exported, as plain modules: pictures in, logits and probabilities out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.feeding.inputs import live_batch
from vlprompt.methods.base import Batch, Method
from vlprompt.prompts.interpreters.entering import image_features
from vlprompt.prompts.tokens import ImagePrompt
from vlprompt.runs.exporting.tracing import Traced, interpreted

SAME = 2e-5  # of logits of some tens, computed in two ways


class FixedText(nn.Module):
    """Pixels -> logits where the text side is one matrix: scale * image features . text features.

    text: [C, d]. prompt: visual prompts, which become part of the program.
    """

    text: Tensor
    visual: nn.ParameterList | None

    def __init__(self, method: Method, text: Tensor, prompt: ImagePrompt | None) -> None:
        super().__init__()
        self.tower = method.backbone.image
        self.scale, self.bias = method.backbone.logit_scale, method.backbone.logit_bias
        self.register_buffer("text", text.detach().clone())
        self.visual = None
        if prompt is not None:
            self.prompted = method.backbone.vit  # the very tower, as one that takes prompts
            self.visual = nn.ParameterList(p.detach().clone() for p in prompt.tensors())
            self.visual.requires_grad_(False)
            self.prompt = prompt

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, C]."""
        if self.visual is None:
            image = self.tower(pixels)
        else:
            image = image_features(self.prompted, self.prompt.with_tensors(list(self.visual)), pixels)
        logits = self.scale * image @ self.text.t()
        return logits + self.bias if self.bias else logits


class WholeMethod(nn.Module):
    """Pixels -> logits where the method itself is needed: what it has learned, and the text tower if prompts
    depend on the picture. Its interpreter has to be `interpreter` while it runs."""

    def __init__(self, method: Method, interpreter: Traced) -> None:
        super().__init__()
        self.method, self.interpreter = method, interpreter
        self.image = method.backbone.image
        self.text = None if interpreter.fixed else interpreter.tower

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, C]."""
        self.interpreter.at = 0
        return self.method(self._batch(pixels)).logits

    def _batch(self, pixels: Tensor) -> Batch:
        if self.method.needs == "pixels":
            return Batch(pixels=pixels)
        if self.method.needs == "patches":
            features, patches = self.method.backbone.patch_features(pixels)
            return Batch(features=features, patches=patches)
        return Batch(features=self.image(pixels))


class Program(nn.Module):
    """Pictures -> (logits, probabilities), [B, C] each; normalisation and temperature are inside.

    pixels: "uint8" for pictures [B, S, S, 3] from 0 to 255, "float" for [B, 3, S, S] from 0 to 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, logits: nn.Module, preprocessing: Preprocessing, pixels: str, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.logits, self.pixels, self.temperature = logits, pixels, temperature
        self.register_buffer("mean", torch.tensor(preprocessing.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(preprocessing.std)[:, None, None])

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        values = pictures
        if self.pixels == "uint8":
            values = pictures.permute(0, 3, 1, 2).float() / 255
        logits = self.logits((values - self.mean) / self.std)
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return logits, logits.softmax(dim=-1)


@contextmanager
def program_of(method: Method, pixels: str, temperature: float = 1.0) -> Iterator[Program]:
    """The program of a method; it can be traced inside the `with`, where the method runs on another interpreter."""
    backbone, preprocessing = method.backbone, method.backbone.preprocessing
    method.eval()
    size = preprocessing.size
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    example = (example - 0.5) / 0.25
    batch = live_batch(backbone, method.needs, example)
    output = method(batch)
    if not method.per_image_text and output.text.dim() == 2 and len(output.text) == output.logits.shape[1]:
        prompt = method.prompts().image if method.needs == "pixels" else None
        fixed = FixedText(method, output.text, prompt)
        if torch.allclose(fixed(example), output.logits, atol=SAME, rtol=SAME):  # logits are nothing else
            yield Program(fixed, preprocessing, pixels, temperature)
            return
    traced = Traced(method)
    with interpreted(method, traced):
        traced.record(method, batch)
        yield Program(WholeMethod(method, traced), preprocessing, pixels, temperature)
