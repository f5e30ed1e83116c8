"""Image towers that timm makes: frozen, without visual prompts. Needs the extra `timm`.

For models that are no plain vision transformers (ConvNeXt, EVA-02, MobileCLIP, Perception Encoder, ViTamin, ...): all
methods that leave the image tower alone run on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.errors import BackboneError


@dataclass(frozen=True)
class TimmSizes:
    """model: its name in timm. pool: what timm calls its read-out, "" for the model's own. head: "linear" or "mlp" behind
    it (bias: with one), "head" for timm's own last layer, "none"."""

    model: str
    resolution: int
    pool: str
    head: str
    bias: bool
    embed_dim: int


class TimmTower(nn.Module):
    """Same call as `ImageTower`: preprocessed pictures to unit-length features."""

    takes_prompts: ClassVar[bool] = False
    gives_patches: ClassVar[bool] = False
    has_stem: ClassVar[bool] = False

    def __init__(self, sizes: TimmSizes) -> None:
        super().__init__()
        timm = import_timm(sizes.model)
        self.exact = ("trunk", "head")  # as timm made them: in float32 whatever the precision
        self.sizes, self.embed_dim, self.kind = sizes, sizes.embed_dim, f"timm ({sizes.model})"
        with torch.device("cpu"):  # tables that are no weights are made here, so it is no meta device
            self.trunk, layers = self._made(timm)
        self.head = nn.ModuleDict(layers)

    def _made(self, timm: Any) -> tuple[nn.Module, dict[str, nn.Module]]:
        """The trunk, and the layers behind it by their names."""
        sizes = self.sizes
        if sizes.head in ("linear", "mlp"):
            trunk = timm.create_model(sizes.model)
            trunk.reset_classifier(0, **({"global_pool": sizes.pool} if sizes.pool else {}))
            width, d = trunk.num_features, sizes.embed_dim
            if sizes.head == "linear":
                return trunk, {"proj": nn.Linear(width, d, bias=sizes.bias)}
            return trunk, {"mlp": timm.layers.Mlp(width, 2 * d, d, bias=(True, sizes.bias))}
        classes = 0 if sizes.head == "none" else sizes.embed_dim
        return timm.create_model(sizes.model, num_classes=classes, global_pool=sizes.pool), {}

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, embed_dim], float32, unit length."""
        x = self.trunk(pixels.float())
        for layer in self.head.values():
            x = layer(x)
        return F.normalize(x.float(), dim=-1)


def import_timm(model: str) -> Any:
    """The package. Raises BackboneError where it is missing or does not import."""
    try:
        import timm
        import timm.layers
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise BackboneError(
            f"the image tower {model} is one of timm's, which does not import here ({reason}): "
            "pip install 'vlprompt[timm]'"
        ) from error
    return timm
