"""MiniLM's vocabulary without what English words do not need.

Kept are the tokens that WordNet's nouns and glosses and the captions are split into, and every single ASCII
character, so that any English word can still be spelt. A text made of kept tokens is split as before: WordPiece
takes the longest token that fits, and no longer one has been added.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def published(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def needed(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Tokens to keep, special ones first, then in the published order."""
    used = {token for encoding in tokenizer.encode_batch(list(texts)) for token in encoding.tokens}
    table = tokenizer.get_vocab()
    for token in table:
        plain = token.removeprefix("##")
        if len(plain) == 1 and plain.isascii():
            used.add(token)
    return [*SPECIAL, *sorted(used - set(SPECIAL), key=table.__getitem__)]


def pruned(folder: Path, kept: list[str]) -> tuple[Tokenizer, list[int]]:
    """The tokenizer with `kept` alone, numbered anew, and where each token stood in the published vocabulary."""
    data = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    old = data["model"]["vocab"]
    number = {token: i for i, token in enumerate(kept)}
    data["model"]["vocab"] = number
    data["truncation"] = data["padding"] = None
    data["added_tokens"] = [
        {**entry, "id": number[entry["content"]]}
        for entry in data["added_tokens"]
        if entry["content"] in number
    ]
    for token, entry in data["post_processor"]["special_tokens"].items():
        entry["ids"] = [number[token]]
    return Tokenizer.from_str(json.dumps(data, ensure_ascii=False)), [old[token] for token in kept]
