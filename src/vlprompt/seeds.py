"""Random numbers: every draw has a generator of its own, made from the seed and what it is for.

So adding a draw moves no other, and a run that goes on after an interruption needs no stored generator
states: the order of epoch 7 is the same whoever asks for it.
"""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A CPU generator that depends on seed, purpose ("initial values", "order", ...) and counters alone."""
    text = "|".join([str(seed), purpose, *map(str, counters)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
