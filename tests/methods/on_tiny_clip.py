"""A method on the tiny CLIP, moved away from its start, and that CLIP as formulas (`by_hand.Clip`)."""

from __future__ import annotations

from typing import Any

import by_hand
import torch
from support import tiny_backbone, tiny_weights
from torch import Tensor

from vlprompt import methods
from vlprompt.backbones.tokenizing import clip_tokenizer
from vlprompt.data.task import Task
from vlprompt.methods.base import Batch

NAMES = ("cat", "golden retriever", "bird's nest")
SEED = 2
LABELS = torch.tensor([0, 2, 1, 2])


def clip() -> by_hand.Clip:
    return by_hand.Clip(tiny_weights(SEED), clip_tokenizer().encode)


def build(
    name: str, away: float = 0.05, names: tuple[str, ...] = NAMES, task: Any = None, **options: Any
) -> Any:
    method = methods.load(name).build(tiny_backbone(SEED), task or Task(names, shots=2), options)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in method.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * away)
    return method


def pixels(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(6))


def evaluated(method: Any, values: Tensor | None = None) -> Any:
    with torch.no_grad():
        return method.eval()(Batch(pixels=pixels() if values is None else values))


def same(found: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5 * scale, rtol=1e-4)


def placed(words: int, names: tuple[str, ...] = NAMES) -> list[str]:
    """`X X name.`, whose first positions are taken."""
    return [f"{' '.join(['X'] * words)} {name}." for name in names]
