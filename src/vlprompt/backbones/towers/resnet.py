"""CLIP's ResNet image towers (RN50, RN101, RN50x4, x16, x64): image features, no visual prompts.

Three changes to a plain ResNet-50: a stem of three convolutions, average pooling before every
strided convolution, and attention pooling instead of global averaging.
Source: Radford et al. 2021, section 2.4, and the layer names of the released weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ResNetSizes:
    """width: channels of the first stage. blocks: per stage. heads: of the attention pooling."""

    width: int
    blocks: tuple[int, ...]
    heads: int
    resolution: int


class Convolution(nn.Conv2d):
    """Takes float32 whatever the precision of its weights, and gives float32 back."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).float()


class Bottleneck(nn.Module):
    """Three convolutions and a way around them; a stride is an average pooling."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = Convolution(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Convolution(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = Convolution(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or channels != 4 * width:
            # The published names number this branch: pooling is "-1" and has no weights.
            self.downsample = nn.ModuleDict(
                {"0": Convolution(channels, 4 * width, 1, bias=False), "1": nn.BatchNorm2d(4 * width)}
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(self._pool(y)))
        if self.downsample is not None:
            x = self.downsample["1"](self.downsample["0"](self._pool(x)))
        return F.relu(x + y)

    def _pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.stride) if self.stride > 1 else x


class AttentionPool(nn.Module):
    """The mean position asks all positions: [B, channels, h, w] -> [B, embed_dim]."""

    def __init__(self, grid: int, channels: int, heads: int, embed_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(grid * grid + 1, channels))
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)  # [B, h w, channels]
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding.float()
        x = x.to(self.q_proj.weight.dtype)
        q, k, v = self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.c_proj(attended[:, 0]).float()


class ResNetTower(nn.Module):
    """Same call as `ImageTower`: preprocessed pictures to unit-length features."""

    takes_prompts: ClassVar[bool] = False
    gives_patches: ClassVar[bool] = False
    kind: ClassVar[str] = "ResNet"
    has_stem: ClassVar[bool] = False

    def __init__(self, sizes: ResNetSizes, embed_dim: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.embed_dim = embed_dim
        width = sizes.width
        half = width // 2
        for n, (channels, out, stride) in enumerate([(3, half, 2), (half, half, 1), (half, width, 1)], 1):
            self.add_module(f"conv{n}", Convolution(channels, out, 3, stride=stride, padding=1, bias=False))
            self.add_module(f"bn{n}", nn.BatchNorm2d(out))
        channels = width
        for stage, blocks in enumerate(sizes.blocks):
            inner = width * 2**stage
            layers = []
            for block in range(blocks):
                layers.append(Bottleneck(channels, inner, stride=2 if stage and not block else 1))
                channels = 4 * inner
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.attnpool = AttentionPool(sizes.resolution // 32, channels, sizes.heads, embed_dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, embed_dim], float32, unit length."""
        x = pixels
        for n in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(x)))
        x = F.avg_pool2d(x, 2)
        for stage in range(len(self.sizes.blocks)):
            x = getattr(self, f"layer{stage + 1}")(x)
        return F.normalize(self.attnpool(x), dim=-1)


def resnet_names(sizes: ResNetSizes) -> dict[str, tuple[str, ...]]:
    """Our tensor names and the published ones, which have "visual." in front."""
    with torch.device("meta"):
        tower = ResNetTower(sizes, embed_dim=1)
    return {n: (f"visual.{n}",) for n in tower.state_dict() if not n.endswith("num_batches_tracked")}
