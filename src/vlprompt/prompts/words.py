"""Class names and context words as token vectors, laid out as the published code lays them out.

`X X X X name.` marks places whose vectors are learned; prompts are tokenised as a whole, since a
name that ends in punctuation merges with the full stop behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.tokenizing import Tokenizer
from vlprompt.errors import OptionError
from vlprompt.prompts.tokens import TextPrompt


def spaced(name: str) -> str:
    """Underscores become spaces; nothing else is changed."""
    return name.replace("_", " ")


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names, or OptionError for none, an empty one or two that read the same."""
    if not names:
        raise OptionError("no class names: give at least one")
    seen: dict[str, str] = {}
    for name in names:
        key = spaced(name).strip().lower()
        if not key:
            raise OptionError(f"class name {name!r} is empty: give every class a name")
        if key in seen:
            raise OptionError(
                f'class names "{seen[key]}" and "{name}" read the same: rename one (--classes or classes.txt)'
            )
        seen[key] = name
    return tuple(names)


@lru_cache(maxsize=64)
def check_tokens(names: tuple[str, ...], tokenizer: Tokenizer) -> None:
    """OptionError for a name that is nothing to the tokenizer, and for two that are the same to it.

    Characters without width are such, or letters that its vocabulary knows in one form only: prompts of such classes
    would be equal, and so would all their probabilities.
    """
    seen: dict[tuple[int, ...], str] = {}
    for name in names:
        ids = tuple(tokenizer.ids(spaced(name)))
        if not ids:
            raise OptionError(f"class name {name!a} is nothing that can be read: give it another (--classes)")
        if ids in seen:
            raise OptionError(
                f"class names {seen[ids]!a} and {name!a} read the same to this backbone: rename one "
                "(--classes or classes.txt)"
            )
        seen[ids] = name


def split_template(template: str) -> tuple[str, str]:
    """Words before and behind the one {} of a template."""
    if template.count("{}") != 1:
        raise OptionError(f'template {template!r}: expected exactly one {{}}, as in "a photo of a {{}}."')
    before, behind = template.split("{}")
    return before, behind


def name_counts(backbone: Backbone, names: Sequence[str]) -> tuple[int, ...]:
    """Tokens of each name tokenised alone."""
    return tuple(backbone.tokenizer.count(spaced(name)) for name in names)


def pad_rows(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """[C, longest] token ids, padded with 0 (which nothing reads)."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)


def name_embeddings(backbone: Backbone, names: Sequence[str], tokens: int) -> Tensor:
    """Embeddings of the first tokens of each name tokenised alone, [C, tokens, D]; shorter names end in zeros."""
    ids = [backbone.tokenizer.ids(spaced(name))[:tokens] for name in names]
    vectors = backbone.text.embed(
        pad_rows([[*row, *[0] * (tokens - len(row))] for row in ids], backbone.device)
    )
    keep = torch.tensor([[j < len(row) for j in range(tokens)] for row in ids], device=backbone.device)
    return vectors * keep[..., None]


def template_prompt(
    backbone: Backbone, names: Sequence[str], template: str, *, prefix_length: int | None = None
) -> TextPrompt:
    """The frozen prompts of a template: shared words in the prefix, names and tail in the suffix.

    prefix_length: cut the prefix there (in tokens, counted with a start token, whether the tower has one or not)
    instead of at the name.
    Raises OptionError if the names do not start at the same token.
    """
    before, _ = split_template(template)
    rows = [backbone.tokenizer.encode(template.replace("{}", spaced(name))) for name in names]
    begins = len(backbone.tokenizer.start)
    start = begins + (backbone.tokenizer.count(before.strip()) if before.strip() else 0)
    shared = begins
    while shared < start and all(row[shared] == rows[0][shared] for row in rows):
        shared += 1
    cut = shared if prefix_length is None else prefix_length - 1 + begins
    device = backbone.device
    return TextPrompt(
        prefix=backbone.text.embed(torch.tensor([rows[0][:cut]], dtype=torch.long, device=device)),
        suffix=backbone.text.embed(pad_rows([row[cut:] for row in rows], device)),
        lengths=tuple(backbone.tokenizer.end_position(row) + 1 - cut for row in rows),
        label_start=max(0, start - cut),
        label_counts=name_counts(backbone, names),
        start=begins,
    )


def placeholder_template(tokens: int) -> str:
    """`X X X {}.`: as many placeholders as learned vectors, all replaced."""
    return " ".join(["X"] * tokens) + " {}."


def context_start(backbone: Backbone, words: str, tokens: int) -> tuple[str, int, Tensor | None]:
    """Template, number of context tokens and their first values [n, D]; None: to be drawn at random.

    Words are counted at single blanks and go before the number of tokens that was asked for.
    """
    words = spaced(words).strip()
    if not words:
        return placeholder_template(tokens), tokens, None
    n = len(words.split(" "))
    return f"{words} {{}}.", n, word_embeddings(backbone, words, n).clone()


def word_embeddings(backbone: Backbone, words: str, tokens: int) -> Tensor:
    """Embeddings of the first tokens of the words (then [EOT] and padding), [tokens, D]."""
    begins = len(backbone.tokenizer.start)
    ids = [*backbone.tokenizer.encode(spaced(words)), *[0] * tokens][begins : begins + tokens]
    return backbone.text.embed(torch.tensor(ids, device=backbone.device))
