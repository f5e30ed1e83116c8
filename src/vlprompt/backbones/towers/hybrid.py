"""Hybrid image towers: convolutions that make a grid of vectors, and transformer blocks over that grid.

    grid = stem(pixels)                            inverted bottlenecks (MobileNetV2, EfficientNet-Lite), norms folded in
    t = W grid + b                                 to the width of the blocks
    x = [mean(t) + class vector; t] + positions    visual prompts enter from here on

The stem never sees prompts, so what it gives can be computed once and kept: wherever such a tower takes pixels
[B, 3, H, W], it takes the outputs of its stem, [B, cells, channels], too.
Source: Sandler et al., "MobileNetV2", CVPR 2018 (the bottleneck); Tan and Le, ICML 2019 (EfficientNet).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.towers.transformer import TransformerSizes
from vlprompt.backbones.towers.vit import ImageForm, Vision


@dataclass(frozen=True)
class BottleneckSizes:
    """Channels in, inside and out; padding: zeros before and after, on both axes; residual: added to the input."""

    inputs: int
    hidden: int
    outputs: int
    kernel: int
    stride: int
    padding: tuple[int, int]
    residual: bool


@dataclass(frozen=True)
class StemSizes:
    """first: the convolution of pixels, as a bottleneck's depthwise one; outputs: channels of the grid; reduction: pixels of a
    cell's side."""

    first_outputs: int
    first_kernel: int
    first_stride: int
    first_padding: tuple[int, int]
    blocks: tuple[BottleneckSizes, ...]
    outputs: int
    reduction: int


@dataclass(frozen=True)
class HybridSizes(TransformerSizes):
    """resolution: pixels of the square picture."""

    resolution: int
    stem: StemSizes

    @property
    def patches(self) -> int:
        return (self.resolution // self.stem.reduction) ** 2


class Convolution(nn.Conv2d):
    """A convolution whose padding may be uneven; it takes any precision and gives that of its weights."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> None:
        before, after = padding
        even = before if before == after else 0  # what convolutions do by themselves is faster
        super().__init__(inputs, outputs, kernel, stride, even, groups=groups)
        self.around = None if before == after else (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.around is None else F.pad(x, self.around))


class Bottleneck(nn.Module):
    """1x1 up to `hidden` channels, one filter for each of them, 1x1 down; added to its input where `residual`."""

    def __init__(self, sizes: BottleneckSizes) -> None:
        super().__init__()
        hidden = sizes.hidden
        self.expand = Convolution(sizes.inputs, hidden) if hidden != sizes.inputs else None
        self.depthwise = Convolution(hidden, hidden, sizes.kernel, sizes.stride, sizes.padding, hidden)
        self.project = Convolution(hidden, sizes.outputs)
        self.residual = sizes.residual

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class Stem(nn.Module):
    """[B, 3, S, S] -> [B, cells, channels], row by row, float32."""

    def __init__(self, sizes: StemSizes) -> None:
        super().__init__()
        self.first = Convolution(
            3, sizes.first_outputs, sizes.first_kernel, sizes.first_stride, sizes.first_padding
        )
        self.blocks = nn.ModuleList(Bottleneck(one) for one in sizes.blocks)
        self.last = Convolution(sizes.blocks[-1].outputs, sizes.outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.to(self.first.weight.dtype, memory_format=torch.channels_last)
        x = F.relu6(self.first(x))
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.last(x)).flatten(2).transpose(1, 2).float()


class HybridTower(Vision):
    """A stem, a linear layer, and the blocks of a vision transformer."""

    kind: ClassVar[str] = "hybrid"
    has_stem: ClassVar[bool] = True

    def __init__(
        self, sizes: HybridSizes, embed_dim: int, activation: str, eps: float, form: ImageForm
    ) -> None:
        super().__init__(sizes, sizes.patches, embed_dim, activation, eps, form)
        self.sizes = sizes
        self.stem = Stem(sizes.stem)
        self.grid = nn.Linear(sizes.stem.outputs, sizes.width)
        self.class_embedding = nn.Parameter(torch.zeros(sizes.width))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + sizes.patches, sizes.width))

    def embed(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W], or the stem's outputs [B, cells, channels] -> [B, 1 + cells, width]."""
        grid = self.stem(pixels) if pixels.dim() == 4 else pixels
        tokens = self.grid(grid.to(self.grid.weight.dtype)).float()
        first = tokens.mean(dim=1, keepdim=True) + self.class_embedding
        return torch.cat([first, tokens], dim=1) + self.positional_embedding
