"""Where the class-aware prompts of CTP look: attention over the patches of a picture, as a heat map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlprompt.data.pictures import Picture, open_picture
from vlprompt.feeding.inputs import live_batch, to_pixels
from vlprompt.methods.mutual import CTPTFT

if TYPE_CHECKING:
    from PIL.Image import Image

    from vlprompt.methods.base import Method


@dataclass(frozen=True)
class Look:
    """One picture as the tower sees it, and how much the prompt of a class looks at each patch, [rows, columns]."""

    crop: Image
    name: str
    weights: np.ndarray


def looking_method(method: Method) -> CTPTFT | None:
    """The CTP among the method's layers, if there is one."""
    own = getattr(method, "base", method)
    return own if isinstance(own, CTPTFT) and own.class_aware else None


@torch.no_grad()
def looks(method: CTPTFT, pictures: list[Picture], names: list[str]) -> list[Look]:
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
    weights = method.looked_at(patches).float().cpu().numpy()  # [B, C, N]
    side = round(weights.shape[-1] ** 0.5)
    place = {name: i for i, name in enumerate(method.task.class_names)}
    return [
        Look(crop, name, weights[i, place[name]].reshape(side, side))
        for i, (crop, name) in enumerate(zip(crops, names, strict=True))
    ]
