"""A `tokenizer.json` from elsewhere: steps that make gigabytes of a word, and what the library panics at."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from vlprompt.backbones.tokenizing import tokenizer_from_json
from vlprompt.errors import BackboneError

WORDS = {"[UNK]": 0, "<|startoftext|>": 1, "<|endoftext|>": 2, "a": 3, "b": 4}
PLAIN: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"},
}


def replace(pattern: dict[str, str], new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": new}


def one_after_another(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"normalizer": {"type": "Sequence", "normalizers": list(steps)}}


TENFOLD = replace({"String": "a"}, "a" * 10)
AROUND = [{"SpecialToken": {"id": "a", "type_id": 0}}]
SECOND = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}]
HOSTILE: dict[str, dict[str, Any]] = {
    "replacements": one_after_another(*[TENFOLD] * 12),
    "inside each other": one_after_another(*[one_after_another(*[TENFOLD] * 3)["normalizer"]] * 4),
    "expressions": one_after_another(*[replace({"Regex": "x*"}, "yy")] * 20),
    "bytes": one_after_another(*[{"type": "ByteLevel"}] * 40),
    "what stands before": one_after_another(*[{"type": "Prepend", "prepend": "a" * 10**5}] * 2),
    "tokens around": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": AROUND * 100_000 + [SECOND[0]],
            "pair": SECOND,
            "special_tokens": {"a": {"id": "a", "ids": [3], "tokens": ["a"]}},
        }
    },
    "a panic while it is read": {
        "model": {
            "type": "BPE",
            "vocab": WORDS | {"aa": 5},
            "merges": [["a", "a"]],
            "continuing_subword_prefix": "x" * 1000,
        }
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_steps_without_end_are_refused(tmp_path, name):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(PLAIN | HOSTILE[name]))
    began = time.process_time()
    with pytest.raises(BackboneError) as said:
        tokenizer_from_json(file)
    assert "\n" not in str(said.value) and time.process_time() - began < 5


def test_what_the_library_panics_at_is_one_line(tmp_path):
    """An expression that tries too often, and a word for which the file has no token."""
    split = {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated", "invert": False}
    lacking = {"type": "WordLevel", "vocab": {k: v for k, v in WORDS.items() if v}, "unk_token": "[UNK]"}
    for wrong in ({"pre_tokenizer": split}, {"model": lacking}):
        file = tmp_path / "tokenizer.json"
        file.write_text(json.dumps(PLAIN | wrong))
        tokenizer = tokenizer_from_json(file)
        with pytest.raises(BackboneError, match="cannot be used") as said:
            tokenizer.ids("a" * 60 + "b")
        assert "\n" not in str(said.value)


def test_steps_of_honest_files_are_taken(tmp_path):
    """As T5, Llama and BERT have them."""
    steps = one_after_another(
        {"type": "Prepend", "prepend": "\u2581"},
        replace({"String": " "}, "\u2581"),
        replace({"String": "``"}, '"'),
        {"type": "NFKD"},
        {"type": "StripAccents"},
        {"type": "Lowercase"},
        replace({"Regex": " {2,}"}, " "),
    )
    file = tmp_path / "tokenizer.json"
    file.write_text(
        json.dumps(PLAIN | steps | {"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581"}})
    )
    assert len(tokenizer_from_json(file).ids("a b")) >= 1
