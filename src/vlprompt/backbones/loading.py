"""`load_backbone`: locate, read sizes, build, load, cast; each step is a function elsewhere.

Sources: "embedded"; a folder or hub id in Hugging Face CLIP layout or open_clip layout; one of
OpenAI's `.pt` files or names ("ViT-B/16"). A bare .pt file says no sizes, so it must be OpenAI's.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from platform import machine
from typing import Any

import torch
from torch import Tensor

from vlprompt import files
from vlprompt.backbones.assembling import assemble
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.locating import layout_of, locate, weights_in
from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.backbones.spec import BackboneSpec, spec_of
from vlprompt.backbones.tokenizing import Tokenizer, clip_tokenizer, clip_vocabulary, tokenizer_from_json
from vlprompt.backbones.weights.huggingface_clip import end_ids, from_huggingface
from vlprompt.backbones.weights.hybrid_clip import from_hybrid
from vlprompt.backbones.weights.openai_clip import from_open_clip, from_openai
from vlprompt.backbones.weights.tensor_files import read_tensors
from vlprompt.backbones.weights.tower_weights import ClipWeights
from vlprompt.errors import BackboneError, OptionError, VlpromptError, nearest

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Parts:
    """What a source holds, before a tower is built."""

    layout: str
    weights: ClipWeights
    preprocessing: Preprocessing
    start_id: int | None = None
    end_id: int | None = None


def load_backbone(
    source: str | Path | BackboneSpec = "embedded",
    *,
    tokenizer: Tokenizer | str | Path | None = None,
    device: str = "cpu",
    precision: str = "float32",
    revision: str | None = None,
) -> Backbone:
    """A frozen backbone, ready for use.

    source: see the head of this module, or a BackboneSpec that says it all. tokenizer: a Tokenizer, a tokenizer.json or a folder with one,
    where the source has none of its own. device: "cpu", "cuda", "mps", ... or "auto".
    precision: "float32", "bf16" or "fp16" for the matrix products of the towers.
    revision: branch, tag or commit on the hub.

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
        )
    where = choose_device(device)
    dtype = choose_precision(precision, where)
    path = locate(source, revision)
    parts = read_folder(path, str(source).startswith("hf-hub:")) if path.is_dir() else read_file(path)
    chosen = choose_tokenizer(tokenizer, path, parts)
    backbone = assemble(parts.weights, chosen, parts.preprocessing, name=str(source))
    backbone.details |= {
        "layout": parts.layout,
        "path": str(path),
        "precision": precision,
        "revision": revision,
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


def _without_bf16() -> bool:
    """Whether products in bf16 would be emulated number by number: 35 times slower than float32 with AVX2."""
    return torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2") and machine() in (
        "x86_64",
        "AMD64",
    )


def read_file(path: Path) -> Parts:
    """One of OpenAI's .pt files."""
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise BackboneError(
            f"{path} alone does not say the sizes of its towers: give the folder with its config.json"
        )
    state = read_tensors(path)
    weights = from_openai(state)
    return Parts("openai", weights, Preprocessing(weights.image_sizes.resolution))


def read_folder(folder: Path, prefer_open_clip: bool = False) -> Parts:
    """A folder in Hugging Face or open_clip layout."""
    layout = layout_of(folder, prefer_open_clip)
    state = read_tensors(weights_in(folder, layout))
    try:
        return READERS[layout](folder, state)
    except VlpromptError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # entries of a wrong kind, such as text for a width
        raise BackboneError(f"the configuration in {folder} cannot be used: {error}") from error


def _read_open_clip(folder: Path, state: Mapping[str, Tensor]) -> Parts:
    config = read_json(folder / "open_clip_config.json")
    weights = from_open_clip(state, config.get("model_cfg", config))
    size = weights.image_sizes.resolution
    return Parts("open_clip", weights, Preprocessing.from_open_clip(config.get("preprocess_cfg") or {}, size))


def _read_huggingface(folder: Path, state: Mapping[str, Tensor]) -> Parts:
    config = read_json(folder / "config.json")
    weights = from_huggingface(state, config)
    start_id, end_id = end_ids(config)
    return Parts("huggingface", weights, _huggingface_preprocessing(folder, weights), start_id, end_id)


def _read_hybrid(folder: Path, state: Mapping[str, Tensor]) -> Parts:
    weights = from_hybrid(state, read_json(folder / "config.json"))
    return Parts("hybrid", weights, _huggingface_preprocessing(folder, weights))


READERS = {"huggingface": _read_huggingface, "open_clip": _read_open_clip, "hybrid": _read_hybrid}


def _huggingface_preprocessing(folder: Path, weights: ClipWeights) -> Preprocessing:
    if (folder / "preprocessor_config.json").is_file():
        return Preprocessing.from_huggingface(read_json(folder / "preprocessor_config.json"))
    if (folder / "processor_config.json").is_file():
        config = read_json(folder / "processor_config.json")
        return Preprocessing.from_huggingface(config.get("image_processor", {}))
    return Preprocessing(weights.image_sizes.resolution)


def choose_tokenizer(given: Tokenizer | str | Path | None, source: Path, parts: Parts) -> Tokenizer:
    """The one that was given, else the one beside the weights, else CLIP's if the sizes allow it."""
    sizes = parts.weights.text_sizes
    if isinstance(given, Tokenizer):
        return given
    path = Path(given) if given is not None else source
    file = path / "tokenizer.json" if path.is_dir() else path
    if given is not None and not file.is_file():
        raise BackboneError(f"no tokenizer.json at {path}")
    # open_clip models that have CLIP's vocabulary use CLIP's rules, whatever lies beside them.
    if file.name.endswith(".json") and file.is_file() and (given is not None or parts.layout != "open_clip"):
        return tokenizer_from_json(
            file, start_id=parts.start_id, end_id=parts.end_id, context_length=sizes.context_length
        )
    vocabulary = source / "vocab.json" if source.is_dir() else None
    if vocabulary is not None and vocabulary.is_file() and read_json(vocabulary) != clip_vocabulary():
        raise BackboneError(
            f"{source} has a vocabulary of its own but no tokenizer.json: "
            "save its fast tokenizer with transformers, or give --tokenizer"
        )
    if sizes.vocabulary != len(clip_vocabulary()):
        raise BackboneError(
            f"{source} has no tokenizer, and with {sizes.vocabulary} ids its vocabulary is not CLIP's: "
            "give --tokenizer"
        )
    return clip_tokenizer(sizes.context_length)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises BackboneError."""
    try:
        content = files.read_json(path)
    except (OSError, ValueError) as error:
        raise BackboneError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{path} is no JSON object")
    return content
