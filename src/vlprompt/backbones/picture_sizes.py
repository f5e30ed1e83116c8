"""Pictures of another size than a model was trained on: its positions are interpolated.

Bicubic over the grid of positions, as open_clip does it; what belongs to the class token stays. The features of another
size are other features: accuracy may rise or fall, and prompts belong to the size that they were learned at.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.backbones.towers.hybrid import HybridSizes
from vlprompt.backbones.towers.resnet import ResNetSizes
from vlprompt.backbones.towers.vit import ImageSizes
from vlprompt.backbones.weights.tower_weights import ClipWeights
from vlprompt.errors import BackboneError

POSITIONS = {ImageSizes: "positional_embedding", HybridSizes: "positional_embedding"}
POSITIONS |= {ResNetSizes: "attnpool.positional_embedding"}


def resized(
    weights: ClipWeights, preprocessing: Preprocessing, size: int
) -> tuple[ClipWeights, Preprocessing]:
    """Weights and preprocessing for pictures of `size` pixels. Raises BackboneError where there can be none."""
    sizes = weights.image.sizes
    if size == sizes.resolution:
        return weights, preprocessing
    name = POSITIONS.get(type(sizes))
    if name is None:
        raise BackboneError(
            f"this image tower takes pictures of {sizes.resolution} pixels and of no other size"
        )
    cell = _cell(sizes)
    if size < cell or size % cell:
        raise BackboneError(f"pictures of {size} pixels are no whole number of cells of {cell}")
    held = weights.image.tensors[name]
    start = len(held) - (sizes.resolution // cell) ** 2
    tensors = weights.image.tensors | {name: interpolated(held, start, size // cell)}
    image = replace(weights.image, sizes=replace(sizes, resolution=size), tensors=tensors)
    shorter = preprocessing.shorter
    scaled = None if shorter is None else max(size, round(shorter * size / preprocessing.size))
    return replace(weights, image=image), replace(preprocessing, size=size, shorter=scaled)


def _cell(sizes: ImageSizes | HybridSizes | ResNetSizes) -> int:
    """Pixels of a cell's side."""
    if isinstance(sizes, ImageSizes):
        return sizes.patch
    return sizes.stem.reduction if isinstance(sizes, HybridSizes) else 32


def interpolated(positions: Tensor, start: int, side: int) -> Tensor:
    """Positions of a grid with `side` cells, [start + side^2, width], from those of another; the first `start` stay."""
    grid = positions[start:]
    old = math.isqrt(len(grid))
    cells = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    new = F.interpolate(cells, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:start], new.permute(0, 2, 3, 1).flatten(0, 2)])
