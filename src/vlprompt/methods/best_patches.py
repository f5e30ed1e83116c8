"""The patches of a picture that fit a text best, some of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from vlprompt.errors import OptionError


def check_counts(text: str) -> None:
    """OptionError for what is no list of numbers from 1 on."""
    if not all(re.fullmatch(r"\d{1,6}", part.strip()) and int(part) for part in text.split(",")):
        raise OptionError(f'patches is "{text}": expected numbers from 1 on, such as "5,10,15,20"')


def patch_counts(text: str) -> list[int]:
    """The numbers of patches in "5,10,15,20"."""
    return [int(part) for part in text.split(",")]


def best_patches(local: Tensor, text: Tensor, counts: Sequence[int]) -> Tensor:
    """Mean cosine with the best patches, of another number for each of P prompts: [B, N, d] with [P, C, d] -> [B, P, C]."""
    cosines = (text.flatten(0, 1) @ local.transpose(1, 2)).unflatten(1, text.shape[:2])  # [B, P, C, N]
    most = cosines.shape[-1]
    best = [
        cosines[:, p].mean(dim=-1) if k >= most else cosines[:, p].topk(k, sorted=False).values.mean(dim=-1)
        for p, k in enumerate(counts)
    ]
    return torch.stack(best, dim=1)
