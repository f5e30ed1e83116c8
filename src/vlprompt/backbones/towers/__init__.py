"""Towers: modules that turn tokens or pixels into features, and know no method."""

from __future__ import annotations

from vlprompt.backbones.towers.resnet import ResNetSizes, ResNetTower
from vlprompt.backbones.towers.text import TextForm, TextSizes, TextTower
from vlprompt.backbones.towers.transformer import Block, LayerNorm, TransformerSizes, normalise
from vlprompt.backbones.towers.vit import ImageForm, ImageSizes, ImageTower

__all__ = [
    "Block",
    "ImageForm",
    "ImageSizes",
    "ImageTower",
    "LayerNorm",
    "ResNetSizes",
    "ResNetTower",
    "TextForm",
    "TextSizes",
    "TextTower",
    "TransformerSizes",
    "normalise",
]
