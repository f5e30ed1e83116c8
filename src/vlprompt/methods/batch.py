"""What a method is fed, and what it has seen of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What the loop feeds, as the method's facts ask for it: unit-length features [B, d] of the frozen image tower,
    its patch tokens [B, N, d], preprocessed pixels [B, 3, H, W], what stands at each patch [B, N, width]
    (`Backbone.patch_states`). All that are there are of the same view."""

    features: Tensor | None = None
    patches: Tensor | None = None
    pixels: Tensor | None = None
    patch_states: Tensor | None = None

    def __len__(self) -> int:
        return len(next(t for t in (self.features, self.pixels) if t is not None))


@dataclass(frozen=True, eq=False)
class Seen:
    """What `compare` needs of the pictures. features: [B, d], unit length; patches: [B, N, d].

    extra: whatever else a method has seen, or drawn for this batch, by name.
    """

    features: Tensor
    patches: Tensor | None = None
    extra: dict[str, Any] = field(default_factory=dict)
