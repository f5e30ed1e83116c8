"""Sizes and tensors to a Backbone: build the towers, fill them, take the fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.backbones.tokenizing import Tokenizer
from vlprompt.backbones.towers.hybrid import HybridSizes, HybridTower
from vlprompt.backbones.towers.resnet import ResNetSizes, ResNetTower
from vlprompt.backbones.towers.text import TextForm, TextTower
from vlprompt.backbones.towers.vit import ImageForm, ImageTower, Vision
from vlprompt.backbones.weights.openai_clip import from_openai
from vlprompt.backbones.weights.tower_weights import ClipWeights, TowerWeights
from vlprompt.errors import BackboneError


def build_backbone(
    state: Mapping[str, Any],
    tokenizer: Tokenizer,
    preprocessing: Preprocessing | None = None,
    name: str = "weights",
) -> Backbone:
    """A float32 backbone on the CPU from a state dict in OpenAI's layout."""
    return assemble(from_openai(state), tokenizer, preprocessing, name)


def assemble(
    weights: ClipWeights,
    tokenizer: Tokenizer,
    preprocessing: Preprocessing | None = None,
    name: str = "weights",
) -> Backbone:
    """Raises BackboneError if shapes, tokenizer or preprocessing do not fit the sizes."""
    text, image = weights.text, weights.image
    preprocessing = preprocessing or Preprocessing(image.sizes.resolution)
    if preprocessing.size != image.sizes.resolution:
        raise BackboneError(
            f"preprocessing gives {preprocessing.size} pixels, the image tower takes {image.sizes.resolution}"
        )
    if tokenizer.vocabulary > text.sizes.vocabulary:
        raise BackboneError(
            f"the tokenizer has {tokenizer.vocabulary} ids, the text tower {text.sizes.vocabulary}: "
            "give the tokenizer that belongs to these weights"
        )
    if tokenizer.context_length != text.sizes.context_length:
        raise BackboneError(
            f"the tokenizer allows {tokenizer.context_length} tokens, the text tower {text.sizes.context_length}"
        )
    text_tower, image_tower = build_towers(weights)
    return Backbone(
        name=name,
        text=text_tower,
        image=image_tower,
        logit_scale=weights.logit_scale,
        logit_bias=weights.logit_bias,
        tokenizer=tokenizer,
        preprocessing=preprocessing,
        fingerprint=fingerprint(weights, tokenizer, preprocessing),
    )


def build_towers(weights: ClipWeights) -> tuple[TextTower, Vision | ResNetTower]:
    """The two towers, filled. Raises BackboneError if a tensor has another shape than the sizes say."""
    try:
        return _build(weights)
    except BackboneError:
        raise
    except (
        RuntimeError,
        OverflowError,
        MemoryError,
        TypeError,
        ValueError,
    ) as error:  # of sizes that no tensor can have
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BackboneError(f"no tower has the sizes that are stated: {reason}") from error


def _build(weights: ClipWeights) -> tuple[TextTower, Vision | ResNetTower]:
    text, image = weights.text, weights.image
    for tower in (text, image):
        stated = getattr(tower.sizes, "layers", 1)
        if isinstance(stated, int) and stated > len(tower.tensors):  # one module after another would be made
            raise BackboneError(f"{stated} layers are stated, but there are {len(tower.tensors)} tensors")
    with torch.device("meta"):  # no time for initial values that are overwritten at once
        form = text.form if isinstance(text.form, TextForm) else TextForm()
        hidden = f"head.{form.head.index('linear')}.weight" if "linear" in form.head else ""
        inner = text.tensors[hidden].shape[0] if hidden in text.tensors else 0
        text_tower = TextTower(text.sizes, weights.embed_dim, text.activation, text.eps, form, inner)
        image_tower = _image_tower(image, weights.embed_dim)
    _fill(text_tower, text, "text")
    _fill(image_tower, image, "image")
    return text_tower, image_tower


def _image_tower(weights: TowerWeights, embed_dim: int) -> Any:
    if weights.build is not None:
        return weights.build(embed_dim)
    if isinstance(weights.sizes, ResNetSizes):
        return ResNetTower(weights.sizes, embed_dim)
    form = weights.form if isinstance(weights.form, ImageForm) else ImageForm()
    kind = HybridTower if isinstance(weights.sizes, HybridSizes) else ImageTower
    return kind(weights.sizes, embed_dim, weights.activation, weights.eps, form)


def _fill(tower: nn.Module, weights: TowerWeights, which: str) -> None:
    """Puts the tensors into a tower that was built on the meta device."""
    wanted = {name: t for name, t in tower.state_dict().items() if not name.endswith("num_batches_tracked")}
    missing, surplus = sorted(wanted.keys() - weights.tensors), sorted(weights.tensors.keys() - wanted)
    if missing or surplus:
        what, names = ("lacks", missing) if missing else ("has no place for", surplus)
        raise BackboneError(f"the {which} tower {what} {', '.join(names[:4])}{', ...' if names[4:] else ''}")
    for name, expected in wanted.items():
        given = tuple(weights.tensors[name].shape)
        if given != tuple(expected.shape):
            raise BackboneError(
                f"{which} tower: {name} has shape {given}, the sizes ask for {tuple(expected.shape)}"
            )
    tower.load_state_dict(
        {name: weights.tensors[name].contiguous() for name in wanted}, strict=False, assign=True
    )
    for module in tower.modules():  # counters of batch norm, the only tensors still on the meta device
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = torch.zeros((), dtype=torch.long)


def fingerprint(weights: ClipWeights, tokenizer: Tokenizer, preprocessing: Preprocessing) -> str:
    """Hex digest of all that decides features: the same for the same weights in any layout or file."""
    digest = hashlib.blake2b(digest_size=32)
    for which, tower in (("text", weights.text), ("image", weights.image)):
        facts = [which, *tower.facts()]
        facts.insert(4, weights.embed_dim)
        digest.update(json.dumps(facts, sort_keys=True).encode())
        for name in sorted(tower.tensors):
            digest.update(name.encode())
            digest.update(_bytes(tower.tensors[name]))
    rest = [round(weights.logit_scale, 4), tokenizer.fingerprint, preprocessing.to_dict()]
    rest += [round(weights.logit_bias, 4)] if weights.logit_bias else []
    digest.update(json.dumps(rest, sort_keys=True).encode())
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().contiguous().view(-1).numpy().data.cast("B")
