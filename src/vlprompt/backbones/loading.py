"""`load_backbone`: locate, read sizes, build, load, cast; each step is a function elsewhere.

Sources: "embedded"; a folder or hub id in Hugging Face's or open_clip's layout; one of OpenAI's `.pt` files or names
("ViT-B/16"). A bare .pt file says no sizes, so it must have OpenAI's.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from platform import machine

import torch

from vlprompt.backbones.assembling import assemble
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.locating import locate
from vlprompt.backbones.parts import read_file, read_folder
from vlprompt.backbones.picture_sizes import resized
from vlprompt.backbones.spec import BackboneSpec, spec_of
from vlprompt.backbones.tokenizer_choice import choose_tokenizer
from vlprompt.backbones.tokenizing import Tokenizer
from vlprompt.errors import OptionError, nearest

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_backbone(
    source: str | Path | BackboneSpec = "embedded",
    *,
    tokenizer: Tokenizer | str | Path | None = None,
    device: str = "cpu",
    precision: str = "float32",
    revision: str | None = None,
    image_size: int = 0,
) -> Backbone:
    """A frozen backbone, ready for use.

    source: see the head of this module, or a BackboneSpec that says it all. tokenizer: a Tokenizer, a tokenizer.json or a folder with one,
    where the source has none of its own. device: "cpu", "cuda", "mps", ... or "auto".
    precision: "float32", "bf16" or "fp16" for the matrix products of the towers.
    revision: branch, tag or commit on the hub. image_size: pixels of the pictures' side, where it is another than the model
    was trained on (its positions are interpolated); 0: that.

    Raises OptionError for unknown names, devices and precisions, BackboneError for weights,
    tokenizers and layouts that cannot be used.
    """
    if isinstance(source, BackboneSpec):
        spec = source
        return load_backbone(
            spec.source,
            device=spec.device,
            precision=spec.precision,
            tokenizer=spec.tokenizer,
            revision=spec.revision,
            image_size=spec.image_size,
        )
    where = choose_device(device)
    dtype = choose_precision(precision, where)
    path = locate(source, revision)
    parts = read_folder(path, str(source).startswith("hf-hub:")) if path.is_dir() else read_file(path)
    chosen = choose_tokenizer(tokenizer, path, parts.rules, parts.weights.text_sizes)
    weights, preprocessing = parts.weights.padded_with(chosen.pad_id), parts.preprocessing
    if image_size:
        weights, preprocessing = resized(weights, preprocessing, image_size)
    backbone = assemble(weights, chosen, preprocessing, name=str(source))
    backbone.details |= {
        "layout": parts.layout,
        "path": str(path),
        "precision": precision,
        "revision": revision,
        "image_size": image_size or None,
    }
    backbone.details["tokenizer"] = (
        None if tokenizer is None or isinstance(tokenizer, Tokenizer) else str(tokenizer)
    )
    return backbone.to(where, None if dtype == torch.float32 else dtype)


def opened(backbone: str | os.PathLike[str] | BackboneSpec | Backbone) -> Backbone:
    """A loaded backbone, whichever way it was named."""
    if isinstance(backbone, Backbone):
        return backbone
    return load_backbone(spec_of(backbone))


def choose_device(name: str) -> torch.device:
    """For "auto": cuda, then mps, then cpu. Raises OptionError for a device that is not there."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    device = named_device(name)
    absent = (device.type == "cuda" and not cuda) or (device.type == "mps" and not mps)
    if absent or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise OptionError(f'device "{name}" is not available here: use "auto" or "cpu"')
    return device


def named_device(name: str) -> torch.device:
    """The device of that name, whether this machine has it or not. Raises OptionError for a name that is none."""
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise OptionError(f'no device "{name}": {nearest(name, ["auto", "cpu", "cuda", "mps"])}') from error


def named_precision(name: str) -> torch.dtype:
    """The type of that name. Raises OptionError for one that there is not."""
    if name not in PRECISIONS:
        raise OptionError(f'no precision "{name}": {nearest(name, PRECISIONS)}')
    return PRECISIONS[name]


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of that name. Raises OptionError for one that there is not, or not on that device; warns of a slow one."""
    dtype = named_precision(name)
    if name == "fp16" and device.type == "cpu":
        raise OptionError("fp16 is not for CPUs (slow, and it overflows): use bf16 or float32")
    if name == "bf16" and device.type == "cpu" and _without_bf16():
        warnings.warn(
            "bf16 is slow on this processor (no AVX-512): float32 is faster here",
            RuntimeWarning,
            stacklevel=3,
        )
    return dtype


def quick_precision(device: str = "auto") -> str:
    """The precision to take where time matters more than the last digits: bf16 on a processor with units for it."""
    able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    units = any(able.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16" if choose_device(device).type == "cpu" and units else "float32"


def _without_bf16() -> bool:
    """Whether products in bf16 would be emulated number by number: 35 times slower than float32 with AVX2."""
    return torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2") and machine() in (
        "x86_64",
        "AMD64",
    )
