"""Both towers as sizes and tensors under our names, and the reading of state dicts into them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vlprompt.backbones.towers.text import TextForm, TextSizes
from vlprompt.backbones.towers.vit import ImageForm
from vlprompt.errors import BackboneError

# Facts about the network, or counters, that some files carry as tensors.
NO_WEIGHTS = (
    "input_resolution",
    "context_length",
    "vocab_size",
    "position_ids",
    "attn_mask",
    "num_batches_tracked",
)


Names = dict[str, tuple[str, ...]]  # our name -> those of the tensors that make it up


def both(ours: str, *theirs: str) -> Names:
    """Weight and bias of a layer, which may be several layers of theirs, one below the other."""
    return {f"{ours}.{part}": tuple(f"{name}.{part}" for name in theirs) for part in ("weight", "bias")}


def pooled_query(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A query that is the same for all pictures, behind its own layer: [width] -> [width]."""
    return query @ weight.T + bias


@dataclass(frozen=True)
class TowerWeights:
    """One tower: its sizes, and its tensors under our names. eps: of its layer norms.

    form: what kind of tower it is, where it is not CLIP's. build: makes the tower (on the meta device) from the joint
    width, where it is none of the common ones.
    """

    sizes: Any
    tensors: dict[str, Tensor]
    activation: str = "quick_gelu"
    eps: float = 1e-5
    form: TextForm | ImageForm | None = None
    build: Callable[[int], nn.Module] | None = None

    def facts(self) -> list[Any]:
        """All that decides what is computed beside the tensors; plain JSON values."""
        facts = [asdict(self.sizes), self.activation, self.eps]
        return facts if self.form in (None, TextForm(), ImageForm()) else [*facts, asdict(self.form)]


@dataclass(frozen=True)
class ClipWeights:
    """Both towers. logit_scale: the multiplier itself. logit_bias: what is added to logits."""

    text: TowerWeights
    image: TowerWeights
    embed_dim: int
    logit_scale: float
    logit_bias: float = 0.0

    def padded_with(self, pad_id: int) -> ClipWeights:
        """The same with the tokenizer's own padding, where the text tower sees any."""
        form = self.text.form
        if not isinstance(form, TextForm) or not (form.padded or form.read == "class"):
            return self
        return replace(self, text=replace(self.text, form=replace(form, pad_id=pad_id)))

    @property
    def text_sizes(self) -> TextSizes:
        return self.text.sizes

    @property
    def image_sizes(self) -> Any:
        """Those of the image tower's kind; all have a `resolution`."""
        return self.image.sizes


class Layout:
    """A state dict that remembers what was asked of it, to name what is missing and what is left."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state: dict[str, Tensor] = {name: torch.as_tensor(t) for name, t in state.items()}
        self._used: set[str] = set()
        self._missing: list[str] = []

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        if name not in self.state:
            raise BackboneError(
                f'the weights have no tensor "{name}": this is no CLIP layout that vlprompt knows'
            )
        shape = tuple(self.state[name].shape)
        if len(shape) != dimensions:
            raise BackboneError(f"{name} has shape {shape}, expected {dimensions} dimensions")
        return shape

    def count(self, pattern: str) -> int:
        """One more than the highest number that stands where the pattern has its group."""
        found = [int(match[1]) for match in (re.match(pattern, name) for name in self.state) if match]
        count = max(found, default=-1) + 1
        self.check_layers(count)
        return count

    def check_layers(self, layers: int) -> None:
        """BackboneError for more layers than there are tensors, before a name is made for each of them."""
        if layers > len(self.state):
            raise BackboneError(
                f"{layers} layers are stated, but the weights have {len(self.state)} tensors in all"
            )

    def take(
        self, names: Mapping[str, tuple[str, ...]], transposed: tuple[str, ...] = ()
    ) -> dict[str, Tensor]:
        """Our name -> float32 tensor. Several source names are stacked, as queries, keys and values are."""
        taken = {}
        for ours, theirs in names.items():
            lost = [name for name in theirs if name not in self.state]
            self._missing += lost
            self._used.update(theirs)
            if not lost:
                parts = [self.state[name].float() for name in theirs]
                tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
                taken[ours] = tensor.T if ours in transposed else tensor
        return taken

    def scale(self) -> float:
        """The inverse temperature, which files hold as its logarithm."""
        stored = self.take({"logit_scale": ("logit_scale",)})
        return math.exp(stored["logit_scale"].item()) if stored else 1.0

    def bias(self) -> float:
        """What is added to logits, where the model has such a number."""
        return self.take({"bias": ("logit_bias",)})["bias"].item() if "logit_bias" in self.state else 0.0

    def finish(self) -> None:
        """Raises BackboneError if tensors are missing or left over."""
        surplus = [name for name in self.state if name not in self._used and not name.endswith(NO_WEIGHTS)]
        problems = [
            f"{what} {len(names)} tensors ({', '.join(sorted(names)[:4])}{', ...' if len(names) > 4 else ''})"
            for what, names in (("missing", self._missing), ("not known:", surplus))
            if names
        ]
        if problems:
            raise BackboneError(f"the weights do not fit this CLIP layout: {'; '.join(problems)}")
