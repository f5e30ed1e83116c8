"""What a file or folder holds before a tower is built: weights under our names, preprocessing, rules of tokens.

Each family of models has one reader; `FAMILIES` says which `model_type` of a Hugging Face `config.json` is whose.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vlprompt.backbones.locating import inner_folder, json_object, layout_of, weights_in
from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.backbones.tokenizer_choice import TokenRules, siglip_rules
from vlprompt.backbones.weights.huggingface_chinese_clip import from_chinese_clip
from vlprompt.backbones.weights.huggingface_clip import end_ids, from_huggingface
from vlprompt.backbones.weights.huggingface_siglip import from_siglip
from vlprompt.backbones.weights.hybrid_clip import from_hybrid
from vlprompt.backbones.weights.open_clip import from_open_clip
from vlprompt.backbones.weights.openai_clip import from_openai
from vlprompt.backbones.weights.tensor_files import is_torchscript, read_tensors
from vlprompt.backbones.weights.tower_weights import ClipWeights
from vlprompt.errors import BackboneError, VlpromptError

FAMILIES: dict[str, Callable[[Mapping[str, Tensor], Mapping[str, Any]], ClipWeights]] = {
    "clip": from_huggingface,
    "metaclip_2": from_huggingface,
    "siglip": from_siglip,
    "chinese_clip": from_chinese_clip,
}
REFUSED = {"siglip2": "SigLIP 2 of variable picture size (NaFlex)"}


@dataclass(frozen=True)
class Parts:
    """What a source holds, before a tower is built."""

    layout: str
    weights: ClipWeights
    preprocessing: Preprocessing
    rules: TokenRules


def read_file(path: Path) -> Parts:
    """Weights with OpenAI's names (or open_clip's, which are the same) and no configuration beside them."""
    state = {name.removeprefix("text."): tensor for name, tensor in read_tensors(path).items()}
    if "token_embedding.weight" not in state:
        raise BackboneError(
            f'{path} has no tensor "token_embedding.weight" as OpenAI\'s weights have, and alone it does not say the '
            "sizes of its towers: give the folder with its config.json"
        )
    weights = from_openai(state)
    if not (zipfile.is_zipfile(path) and is_torchscript(path)):
        warnings.warn(
            f"{path.name} does not say its activation, so it is read as OpenAI's models are, with QuickGELU: if it was "
            "trained with GELU (most models of open_clip), give it as a folder with open_clip_config.json",
            stacklevel=3,
        )
    return Parts("openai", weights, Preprocessing(weights.image_sizes.resolution), TokenRules())


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
    config = json_object(folder / "open_clip_config.json")
    model = config.get("model_cfg", config)
    weights = from_open_clip(state, model)
    size = weights.image_sizes.resolution
    preprocessing = Preprocessing.from_open_clip(config.get("preprocess_cfg") or {}, size)
    return Parts("open_clip", weights, preprocessing, TokenRules.from_open_clip(model.get("text_cfg", {})))


def _read_huggingface(folder: Path, state: Mapping[str, Tensor]) -> Parts:
    config = json_object(folder / "config.json")
    kind = config.get("model_type") or ", ".join(config.get("architectures") or ["a model of unknown type"])
    kind = "clip" if kind == "CLIPModel" else kind
    if kind not in FAMILIES:
        what = REFUSED.get(kind, f'"{kind}"')
        raise BackboneError(
            f"config.json describes {what}, which is none of the families that vlprompt reads: {', '.join(FAMILIES)}"
            f"{inner_folder(folder)}"
        )
    weights = FAMILIES[kind](state, config)
    rules = siglip_rules(folder) if kind == "siglip" else TokenRules("own", *end_ids(config))
    return Parts("huggingface", weights, _huggingface_preprocessing(folder, weights), rules)


def _read_hybrid(folder: Path, state: Mapping[str, Tensor]) -> Parts:
    weights = from_hybrid(state, json_object(folder / "config.json"))
    return Parts("hybrid", weights, _huggingface_preprocessing(folder, weights), TokenRules("own"))


READERS = {"huggingface": _read_huggingface, "open_clip": _read_open_clip, "hybrid": _read_hybrid}


def _huggingface_preprocessing(folder: Path, weights: ClipWeights) -> Preprocessing:
    if (folder / "preprocessor_config.json").is_file():
        return Preprocessing.from_huggingface(json_object(folder / "preprocessor_config.json"))
    if (folder / "processor_config.json").is_file():
        config = json_object(folder / "processor_config.json")
        return Preprocessing.from_huggingface(config.get("image_processor", {}))
    return Preprocessing(weights.image_sizes.resolution)
