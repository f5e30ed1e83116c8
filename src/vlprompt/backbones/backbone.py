"""Backbone: two frozen towers with their tokenizer, preprocessing, scale and fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vlprompt.backbones.towers.transformer import ImageTower, TextTower
from vlprompt.errors import BackboneError, OptionError

if TYPE_CHECKING:
    from vlprompt.backbones.preprocessing import Preprocessing
    from vlprompt.backbones.tokenizing import Tokenizer
    from vlprompt.backbones.towers.resnet import ResNetTower

TEXTS_AT_ONCE = 256


@dataclass(eq=False)
class Backbone:
    """What every method stands on; nothing in it learns.

    name: what the user asked for. fingerprint: hash of weights, sizes, tokenizer and
    preprocessing. logit_scale: the multiplier itself, not its logarithm.
    """

    name: str
    text: TextTower
    image: ImageTower | ResNetTower
    logit_scale: float
    tokenizer: Tokenizer
    preprocessing: Preprocessing
    fingerprint: str
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for tower in (self.text, self.image):
            tower.requires_grad_(False).eval()

    def __repr__(self) -> str:  # without the towers' modules, which an estimator's repr would show
        return f"Backbone({self.name!r}, fingerprint={self.fingerprint[:12]!r}, device={str(self.device)!r})"

    @property
    def embed_dim(self) -> int:
        return self.text.projection.shape[1]

    @property
    def text_width(self) -> int:
        return self.text.sizes.width

    @property
    def image_width(self) -> int:
        return self.vit.sizes.width

    @property
    def vit(self) -> ImageTower:
        """The image tower, if it is a transformer; visual prompts need one."""
        if not isinstance(self.image, ImageTower):
            raise BackboneError(
                f'"{self.name}" has a ResNet image tower, which takes no visual prompts: '
                "use a ViT backbone or a method that leaves the image tower alone (coop, cocoop, lamm)"
            )
        return self.image

    @property
    def device(self) -> torch.device:
        return self.text.positional_embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrix products."""
        return self.text.blocks[0].qkv.weight.dtype

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Backbone:
        """Moves the towers and casts their matrices (never layer norms, embeddings or positions)."""
        for tower in (self.text, self.image):
            tower.to(device)
            if dtype is not None:
                cast_matrices(tower, dtype)
        return self

    @torch.no_grad()
    def image_features(self, pixels: Tensor) -> Tensor:
        """Unit-length features of preprocessed pictures: [B, 3, H, W] -> [B, embed_dim], float32."""
        return self.image(pixels.to(self.device))

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Unit-length features of texts as they stand, without a template: [N, embed_dim], float32.

        Raises OptionError for a text longer than the tower's context.
        """
        if isinstance(texts, str):
            raise OptionError("texts must be a list; put a single text into [ ]")
        found = [torch.zeros(0, self.embed_dim, device=self.device)]
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            rows = [self.tokenizer.encode(text) for text in texts[start : start + TEXTS_AT_ONCE]]
            longest = max(map(len, rows))
            ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=self.device)
            ends = torch.tensor([self.tokenizer.end_position(row) for row in rows], device=self.device)
            found.append(self.text(ids, ends))
        return torch.cat(found)

    def __deepcopy__(self, memo: dict[int, Any]) -> Backbone:
        """Itself: nothing in it learns, and copies of an estimator (scikit-learn makes many) need no weights of
        their own."""
        return self


def cast_matrices(module: nn.Module, dtype: torch.dtype) -> None:
    """Casts linear and convolution weights and projections in place."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            part.to(dtype)
        projection = getattr(part, "projection", None)
        if isinstance(projection, nn.Parameter):
            projection.data = projection.data.to(dtype)
