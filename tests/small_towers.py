"""Small random towers of every kind that prompts are interpreted on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.backbones.tokenizing import Tokenizer, clip_tokenizer
from vlprompt.backbones.towers import ImageForm, ImageSizes, ImageTower, TextForm, TextSizes, TextTower
from vlprompt.backbones.towers.hybrid import BottleneckSizes, HybridSizes, HybridTower, StemSizes
from vlprompt.backbones.towers.vit import PoolForm

TEXT_FORMS = {
    "clip": TextForm(),
    "siglip": TextForm(causal=False, start=0, read="last", padded=True, pad_id=7, bias=True),
    "clipa": TextForm(causal=False, read="last", padded=True),
    "bert, mean": TextForm(
        causal=False,
        read="mean",
        post_norm=True,
        norm_first=True,
        norm_last=False,
        head=("unit", "linear", "exp"),
        bias=True,
    ),
    "bert, first": TextForm(causal=False, read="first", post_norm=True, norm_first=True, norm_last=False),
    "xlm-r": TextForm(
        causal=False, read="mean", post_norm=True, norm_first=True, norm_last=False, head=("linear", "gelu")
    ),
    "coca": TextForm(read="class"),
    "coca, corrected": TextForm(read="class", class_sees="itself"),
}
IMAGE_FORMS = {
    "clip": ImageForm(),
    "siglip": ImageForm(
        class_token=False,
        patch_bias=True,
        norm_pre=False,
        read="attention",
        projection=False,
        pool=PoolForm(96, 4, mlp_width=80),
    ),
    "average": ImageForm(read="mean", norm_post="after", norm_pre=False),
    "average, no class token": ImageForm(class_token=False, read="mean"),
    "coca": ImageForm(read="attention", norm_post="after", pool=PoolForm(48, 2, norm_keys=True)),
    "post-norm": ImageForm(post_norm=True, bias=True),
}


def shaken(tower: nn.Module, seed: int) -> Any:
    """The tower with random weights, large enough that every part of it shows in the features."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in tower.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if "ln" in name.split(".")[-2:][0]:
            p.data = 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
        elif "embedding" in name:
            p.data = 0.3 * noise
        else:
            p.data = noise * (1.2 * p.shape[-1] ** -0.5 if p.dim() > 1 else 0.1)
    return tower


def small_text(form: TextForm, seed: int = 0, activation: str = "gelu", context: int = 77) -> TextTower:
    """64 wide, 3 blocks, CLIP's vocabulary."""
    sizes = TextSizes(64, 3, 2, 96, context_length=context, vocabulary=49408)
    hidden = 40 if "linear" in form.head else 0
    return shaken(TextTower(sizes, 96, activation, 1e-5, form, hidden), seed)


def small_image(form: ImageForm, seed: int = 1, activation: str = "gelu") -> ImageTower:
    """96 wide (the joint width, for towers without a projection), 3 blocks, 9 patches."""
    sizes = ImageSizes(96, 3, 3, 80, resolution=24, patch=8)
    return shaken(ImageTower(sizes, 96, activation, 1e-5, form), seed)


def without_start(tokenizer: Tokenizer) -> Tokenizer:
    """CLIP's vocabulary for a tower whose texts begin with themselves."""
    return Tokenizer(
        tokenizer._core,
        start_id=None,
        end_id=tokenizer.end_id,
        context_length=tokenizer.context_length,
        prepare=tokenizer._prepare,
        fingerprint="without start",
    )


def small_backbone(
    text: TextForm | str = "clip", image: ImageForm | str = "clip", seed: int = 0, **changes: Any
) -> Backbone:
    """A backbone of small random towers of these kinds, on 24 pixels, 32 or 77 tokens."""
    text_form = TEXT_FORMS[text] if isinstance(text, str) else text
    image_form = IMAGE_FORMS[image] if isinstance(image, str) else image
    context = 77 if text_form.causal and not text_form.padded else 32
    tokenizer = clip_tokenizer(context)
    backbone = Backbone(
        f"small {text}, {image}",
        small_text(text_form, seed, context=context),
        small_image(image_form, seed + 1),
        20.0,
        tokenizer if text_form.start else without_start(tokenizer),
        Preprocessing(24),
        f"small {text} {image} {seed}",
    )
    return replace(backbone, **changes)


def small_hybrid(seed: int = 1) -> HybridTower:
    """96 wide, 3 blocks over a grid of 3 x 3 cells of 8 pixels; one convolution is padded unevenly."""
    blocks = (
        BottleneckSizes(6, 6, 8, 3, 2, (0, 1), False),
        BottleneckSizes(8, 12, 8, 3, 1, (1, 1), True),
        BottleneckSizes(8, 16, 10, 5, 2, (2, 2), False),
    )
    stem = StemSizes(6, 3, 2, (0, 1), blocks, 20, reduction=8)
    sizes = HybridSizes(96, 3, 3, 80, resolution=24, stem=stem)
    form = ImageForm(norm_pre=False, norm_post="none", projection=False)
    return shaken(HybridTower(sizes, 96, "gelu", 1e-5, form), seed)


def embedded_kind(seed: int = 0) -> Backbone:
    """Small towers of the kinds of the embedded backbone: a hybrid image tower and a BERT."""
    backbone = small_backbone("bert, mean", seed=seed)
    return replace(backbone, name="small hybrid", image=small_hybrid(seed + 1), fingerprint=f"hybrid {seed}")
