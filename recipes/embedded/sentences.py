"""Many texts through the text tower: batches of like length, so that little of the work is padding."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from torch import Tensor
from towers import TextTower

LONGEST = 64  # tokens; glosses and captions are shorter


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids, longer texts cut before their last token ([SEP])."""
    ids = [e.ids for e in tokenizer.encode_batch(texts)]
    return [x if len(x) <= LONGEST else [*x[: LONGEST - 1], x[-1]] for x in ids]


def padded(ids: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids [N, L], with 0 ([PAD]) behind each text, and the mask [N, L]."""
    longest = max(map(len, ids))
    table = torch.tensor([x + [0] * (longest - len(x)) for x in ids], device=device)
    lengths = torch.tensor([len(x) for x in ids], device=device)
    return table, torch.arange(longest, device=device) < lengths[:, None]


@torch.no_grad()
def sentences(
    tower: TextTower, tokenizer: Tokenizer, texts: list[str], device: torch.device, batch: int = 256
) -> Tensor:
    """Mean of the last states, as it comes: [N, width] float32."""
    ids = encode(tokenizer, texts)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    out = torch.empty(len(ids), tower.ln_embedding.weight.shape[0])
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        with torch.autocast(device.type, torch.bfloat16):
            out[rows] = tower.pooled(*padded([ids[i] for i in rows], device)).cpu()
    return out
