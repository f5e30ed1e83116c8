"""How far LAMM has moved the tokens of each class name, and which words lie nearest before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from vlprompt.prompts.words import name_embeddings, spaced
from vlprompt.report.nearest_words import Near, Vocabulary

if TYPE_CHECKING:
    from vlprompt.methods.base import Method


@dataclass(frozen=True)
class Moved:
    """One class. distance: Euclidean, over all its tokens; share: that as a part of the length of the name's own vectors.

    token: the text of the one that moved most. before, after: the nearest other words of this one; own: its distance
    from where it began.
    """

    name: str
    distance: float
    share: float
    token: str
    own: float
    before: tuple[Near, ...] = ()
    after: tuple[Near, ...] = ()


def label_tokens_of(method: Method) -> Method | None:
    """The method, if it learns tokens for the classes."""
    return method if method.learned_labels() is not None else None


@torch.no_grad()
def movement(
    method: Method, vocabulary: Vocabulary | None = None, *, words_for: int = 12, nearest: int = 3
) -> list[Moved]:
    """Every class, the one that moved most first. words_for: of so many the nearest words are looked up."""
    backbone, names = method.backbone, method.task.class_names
    learned = method.learned_labels()
    assert learned is not None
    tokens, mask = learned
    start = name_embeddings(backbone, names, tokens.shape[1])
    per_token = (tokens - start).norm(dim=-1) * mask
    whole = per_token.pow(2).sum(dim=1).sqrt()
    length = (start.norm(dim=-1) * mask).pow(2).sum(dim=1).sqrt().clamp_min(1e-12)
    order = torch.argsort(whole, descending=True, stable=True).tolist()
    found = []
    for place, i in enumerate(order):
        j = int(per_token[i].argmax())
        ids = backbone.tokenizer.ids(spaced(names[i]))
        text = backbone.tokenizer.decode(ids[j : j + 1]) if j < len(ids) else ""
        before: Sequence[Near] = ()
        after: Sequence[Near] = ()
        if vocabulary is not None and place < words_for:
            before, after = vocabulary.nearest(
                torch.stack([start[i, j], tokens[i, j]]), nearest, without=text
            )
        found.append(
            Moved(
                names[i],
                float(whole[i]),
                float(whole[i] / length[i]),
                text,
                float(per_token[i, j]),
                tuple(before),
                tuple(after),
            )
        )
    return found
