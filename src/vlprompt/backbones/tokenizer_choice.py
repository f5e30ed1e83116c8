"""Which tokenizer goes with which weights, and the rules of its family.

open_clip models that have CLIP's vocabulary use CLIP's rules, whatever lies beside them; all others read the
`tokenizer.json` beside their weights, or a `vocab.txt` of BERT's, and clean texts as they were trained to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlprompt.backbones.locating import json_object
from vlprompt.backbones.text_cleaning import CLEANING
from vlprompt.backbones.tokenizing import (
    Tokenizer,
    clip_tokenizer,
    clip_vocabulary,
    tokenizer_from_json,
    tokenizer_from_words,
)
from vlprompt.backbones.towers.text import TextSizes
from vlprompt.errors import BackboneError


@dataclass(frozen=True)
class TokenRules:
    """where: "clip" for CLIP's vocabulary and rules, "own" for the files beside the weights.

    start_id, end_id: for files that do not say them. clean: what is done to texts first, one of `text_cleaning.CLEANING`.
    ends: texts have an end token; if not, padding follows at once. named: the tokenizer that the weights ask for.
    """

    where: str = "clip"
    start_id: int | None = None
    end_id: int | None = None
    clean: str = ""
    ends: bool = True
    named: str = ""

    @classmethod
    def from_open_clip(cls, config: Mapping[str, Any]) -> TokenRules:
        """config: `text_cfg`."""
        named = str(config.get("hf_tokenizer_name") or config.get("hf_model_name") or "")
        kwargs = config.get("tokenizer_kwargs") or {}
        clean = str(kwargs.get("clean") or "whitespace")
        if not named:
            return cls()
        if clean not in CLEANING:
            raise BackboneError(f'open_clip_config.json: no cleaning of texts is called "{clean}"')
        return cls("own", clean=clean, ends=not kwargs.get("strip_sep_token"), named=named)


def siglip_rules(folder: Path) -> TokenRules:
    """SigLIP cleans texts of punctuation, SigLIP 2 (whose tokenizer is Gemma's) of capitals alone."""
    file = folder / "tokenizer_config.json"
    kind = str(json_object(file).get("tokenizer_class", "")) if file.is_file() else ""
    return TokenRules("own", clean="unpunctuated" if kind.startswith("SiglipTok") else "lower_alone")


def choose_tokenizer(
    given: Tokenizer | str | Path | None, source: Path, rules: TokenRules, sizes: TextSizes
) -> Tokenizer:
    """The one that was given, else the one beside the weights, else CLIP's if the sizes allow it."""
    if isinstance(given, Tokenizer):
        return given
    path = Path(given) if given is not None else source
    file = path / "tokenizer.json" if path.is_dir() else path
    words = path / "vocab.txt" if path.is_dir() else path
    if given is not None and not file.is_file():
        raise BackboneError(f"no tokenizer.json at {path}")
    if given is None and rules.where == "clip":
        return _clips(source, sizes)
    length = sizes.context_length
    if file.name.endswith(".json") and file.is_file():
        return tokenizer_from_json(
            file,
            start_id=rules.start_id,
            end_id=rules.end_id,
            context_length=length,
            clean=rules.clean,
            ends=rules.ends,
        )
    if words.name == "vocab.txt" and words.is_file():
        return tokenizer_from_words(words, context_length=length)
    if rules.named:
        raise BackboneError(
            f"{source} has no tokenizer.json: put that of {rules.named} beside the weights, or give --tokenizer"
        )
    return _clips(source, sizes)


def _clips(source: Path, sizes: TextSizes) -> Tokenizer:
    """CLIP's own, if nothing speaks against it."""
    vocabulary = source / "vocab.json" if source.is_dir() else None
    if vocabulary is not None and vocabulary.is_file() and json_object(vocabulary) != clip_vocabulary():
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
