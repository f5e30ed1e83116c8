"""Backbone: two frozen towers with their tokenizer, preprocessing, scale and fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vlprompt.backbones.towers.hybrid import HybridSizes
from vlprompt.backbones.towers.transformer import TransformerSizes
from vlprompt.backbones.towers.vit import Vision
from vlprompt.errors import BackboneError, OptionError

if TYPE_CHECKING:
    from vlprompt.backbones.preprocessing import Preprocessing
    from vlprompt.backbones.tokenizing import Tokenizer
    from vlprompt.backbones.towers.resnet import ResNetTower
    from vlprompt.backbones.towers.text import TextTower

TEXTS_AT_ONCE = 256


@dataclass(eq=False)
class Backbone:
    """What every method stands on; nothing in it learns.

    name: what the user asked for. fingerprint: hash of weights, sizes, tokenizer and
    preprocessing. logit_scale: the multiplier itself, not its logarithm. logit_bias: what models trained with a
    sigmoid loss add to logits, 0 for all others.
    """

    name: str
    text: TextTower
    image: Vision | ResNetTower
    logit_scale: float
    tokenizer: Tokenizer
    preprocessing: Preprocessing
    fingerprint: str
    details: dict[str, Any] = field(default_factory=dict)
    logit_bias: float = 0.0

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
    def text_sizes(self) -> TransformerSizes:
        return self.text.sizes

    @property
    def image_sizes(self) -> TransformerSizes | None:
        """None for a tower without transformer blocks."""
        sizes = self.image.sizes
        return sizes if isinstance(sizes, TransformerSizes) else None

    @property
    def text_layers(self) -> int:
        """Text blocks, before each of which prompts can enter."""
        return self.text.sizes.layers

    @property
    def image_width(self) -> int:
        return self.vit.blocks[0].out.out_features

    @property
    def image_layers(self) -> int:
        """Image blocks, before each of which prompts can enter. Raises BackboneError where none can."""
        return len(self.vit.blocks)

    @property
    def image_tokens(self) -> int:
        """Tokens of a picture in the image tower's blocks, 0 if it has none."""
        return self.image.start + self.image.patches if isinstance(self.image, Vision) else 0

    @property
    def patches(self) -> int:
        """Patch tokens of a picture. Raises BackboneError where there are none."""
        self._image_tower("gives no patch tokens", "gives_patches")
        return self.vit.patches

    @property
    def image_projection(self) -> Tensor:
        """The matrix from last image states into the joint space, [image_width, embed_dim]; the identity where the tower has
        none, because its states lie there. Raises BackboneError where something else stands between them."""
        found = self.vit.projection
        if found is None and self.image_width == self.embed_dim:
            return torch.eye(self.embed_dim, device=self.device)
        if found is None or found.shape[0] != self.image_width:
            raise BackboneError(
                f'"{self.name}" has no matrix from the image tower\'s states into the joint space'
            )
        return found

    @property
    def takes_visual_prompts(self) -> bool:
        return self.image.takes_prompts

    @property
    def vit(self) -> Vision:
        """The image tower, if visual prompts can enter it. Raises BackboneError if not."""
        return self._image_tower("takes no visual prompts", "takes_prompts")

    def _image_tower(self, lack: str, wanted: str) -> Vision:
        if not getattr(self.image, wanted):
            raise BackboneError(
                f'"{self.name}" has a {self.image.kind} image tower, which {lack}: '
                "use a ViT backbone or a method that leaves the image tower alone (coop, cocoop, lamm)"
            )
        assert isinstance(self.image, Vision)
        return self.image

    def parameters(self) -> list[nn.Parameter]:
        """Everything that both towers hold; none of it learns."""
        return [p for tower in (self.text, self.image) for p in tower.parameters()]

    @property
    def device(self) -> torch.device:
        return self.text.positional_embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrix products."""
        return self.text.dtype

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
    def patch_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Image features [B, embed_dim] and patch tokens in the joint space [B, patches, embed_dim], unit length.

        Raises BackboneError for an image tower that has no patches.
        """
        return self._image_tower("gives no patch tokens", "gives_patches").patch_features(
            pixels.to(self.device)
        )

    @property
    def has_stem(self) -> bool:
        """Whether part of the image tower comes before all prompts and is worth keeping."""
        return self.image.has_stem

    @property
    def stem_numbers(self) -> int:
        """How many numbers `stem` gives for a picture. Only where `has_stem`."""
        sizes = self.image.sizes
        assert isinstance(sizes, HybridSizes)
        return sizes.patches * sizes.stem.outputs

    @torch.no_grad()
    def stem(self, pixels: Tensor) -> Tensor:
        """What the image tower makes of pixels [B, 3, H, W] before anything can enter it: [B, cells, channels], float32.

        Interpreters take it wherever they take pixels. Only where `has_stem`.
        """
        stem: nn.Module = self.image.get_submodule("stem")
        return stem(pixels.to(self.device))

    @torch.no_grad()
    def patch_states(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Image features [B, embed_dim], unit length, and what stands at each patch, [B, patches, width]: its last state,
        behind the last norm, where the last block's attention looks at nothing else.

        Raises BackboneError for an image tower that has no patches.
        """
        tower = self._image_tower("gives no patch tokens", "gives_patches")
        return tower.patch_states(pixels.to(self.device))

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        """Image [B, d] against text [C, d] or [B, C, d] -> [B, C]."""
        if text.dim() == 2:
            return self.scaled(image, text.t())
        return self.scaled(torch.einsum("bd,bcd->bc", image, text))

    def scaled(self, image: Tensor, text: Tensor | None = None) -> Tensor:
        """scale * cosine + bias, from cosines of any shape, or from image [.., B, d] and text [.., d, C]."""
        found = self.logit_scale * image
        found = found if text is None else found @ text
        return found + self.logit_bias if self.logit_bias else found

    @torch.no_grad()
    def text_features(self, texts: Sequence[str], unit: bool = True) -> Tensor:
        """Unit-length features of texts as they stand, without a template: [N, embed_dim], float32.

        unit: if not, features are as the tower's projection gives them.
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
            found.append(self.text(ids[:, : int(ends.max()) + 1], ends, unit))
        return torch.cat(found)

    def __deepcopy__(self, memo: dict[int, Any]) -> Backbone:
        """Itself: nothing in it learns, and copies of an estimator (scikit-learn makes many) need no weights of
        their own."""
        return self


def cast_matrices(module: nn.Module, dtype: torch.dtype) -> None:
    """Casts linear and convolution weights and projections in place, but for what a tower names as `exact`."""
    exact = getattr(module, "exact", ())
    for name, part in module.named_modules():
        if isinstance(part, (nn.Linear, nn.Conv2d)) and name.partition(".")[0] not in exact:
            part.to(dtype)
    projection = getattr(module, "projection", None)
    if isinstance(projection, nn.Parameter) and "projection" not in exact:
        projection.data = projection.data.to(dtype)
