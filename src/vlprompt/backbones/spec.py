"""BackboneSpec: which backbone, where it computes and how exactly, as one value that travels instead of five."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any

from vlprompt.errors import OptionError
from vlprompt.options import OptionSet, option

LOOSE = ("device", "precision", "tokenizer", "revision")  # what used to travel beside the source


@dataclass(frozen=True)
class BackboneSpec(OptionSet):
    """What `load_backbone` is told. Two equal ones are the same backbone on the same device."""

    source: str = option(
        "embedded",
        "embedded (comes with the package), ViT-B/32, ViT-B/16, ViT-L/14, RN50, a folder in Hugging Face or open_clip "
        "layout, an OpenAI .pt file, or the id of a CLIP on the Hugging Face hub",
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    precision: str = option(
        "float32",
        "of the frozen towers; prompts are learned in float32. bf16 is fast on GPUs and on CPUs with bf16 units",
        choices=("float32", "bf16", "fp16"),
    )
    tokenizer: str | None = option(None, "tokenizer.json, if the backbone has none of its own")
    revision: str | None = option(None, "branch, tag or commit on the hub")
    image_size: int = option(
        0,
        "pixels of the pictures' side, where it is another than the backbone was trained on; 0: that",
        low=0,
    )

    def __post_init__(self) -> None:
        for name in ("source", "tokenizer", "revision"):
            value = getattr(self, name)
            if isinstance(value, PathLike):
                object.__setattr__(self, name, fspath(value))
            elif not isinstance(value, str) and not (value is None and name != "source"):
                raise OptionError(f"{name} is {value!r}: expected text")
        super().__post_init__()


def spec_of(backbone: str | PathLike[str] | BackboneSpec) -> BackboneSpec:
    return backbone if isinstance(backbone, BackboneSpec) else BackboneSpec(fspath(backbone))


def with_loose(backbone: Any, loose: Mapping[str, Any], who: str) -> Any:
    """The backbone with arguments of earlier versions (device, precision, ...) put in; warns of each kind once."""
    if not loose:
        return backbone
    names = " and ".join(f"{name}=..." for name in loose)
    warnings.warn(
        f"{who}({names}) is deprecated: give backbone=BackboneSpec({names})", DeprecationWarning, stacklevel=4
    )
    if isinstance(backbone, (str, PathLike, BackboneSpec)):
        return replace(spec_of(backbone), **loose)
    return backbone  # a loaded one is where it is
