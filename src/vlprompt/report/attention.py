"""Where the class-aware prompts of CTP look: attention over the patches of a picture, as a heat map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlprompt.data.pictures import Picture, open_picture
from vlprompt.feeding.inputs import live_batch, to_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

    from vlprompt.methods.base import Method


@dataclass(frozen=True)
class Look:
    """One picture as the tower sees it, and how much the prompt of a class looks at each patch, [rows, columns]."""

    crop: Image
    name: str
    weights: np.ndarray


@torch.no_grad()
def looks_at_places(method: Method) -> bool:
    """Whether the method's prompts look at patches of the picture."""
    patch = torch.zeros(1, 1, method.backbone.embed_dim, device=method.backbone.device)
    return method.patch_weights(patch) is not None


@torch.no_grad()
def looks(method: Method, pictures: list[Picture], names: list[str]) -> list[Look]:
    """How the prompt of a class looks at a picture; one name for each picture."""
    backbone = method.backbone
    crops = [backbone.preprocessing.crop(open_picture(picture)) for picture in pictures]
    if not crops:
        return []
    pixels = to_pixels(
        np.stack([np.asarray(crop) for crop in crops]), backbone.preprocessing, backbone.device
    )
    patches = live_batch(backbone, {"features", "patches"}, pixels).patches
    assert patches is not None
    found = method.patch_weights(patches)
    assert found is not None
    weights = found.float().cpu().numpy()  # [B, C, N]
    side = round(weights.shape[-1] ** 0.5)
    place = {name: i for i, name in enumerate(method.task.class_names)}
    return [
        Look(crop, name, weights[i, place[name]].reshape(side, side))
        for i, (crop, name) in enumerate(zip(crops, names, strict=True))
    ]
