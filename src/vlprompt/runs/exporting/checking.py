"""Whether an exported file computes what the run computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vlprompt.errors import ExportError
from vlprompt.feeding.inputs import live_batch, to_pixels
from vlprompt.runs.run import Run
from vlprompt.scoring.evaluation import softmax

TOLERANCE = 1e-4  # of probabilities, and of logits up to 1 (of larger ones as a share)
BATCHES = (1, 5)
Compute = Callable[[np.ndarray], Sequence[np.ndarray]]  # pictures -> logits, probabilities


@dataclass(frozen=True)
class Difference:
    """Largest absolute differences from torch."""

    logits: float
    probabilities: float


def noise(run: Run, count: int, seed: int = 0) -> np.ndarray:
    """Pictures of noise in the size that the program takes, uint8 [N, S, S, 3]."""
    size = run.backbone.preprocessing.size
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def fed(crops: np.ndarray, pixels: str) -> np.ndarray:
    """uint8 crops [N, S, S, 3] as the input of a program."""
    if pixels == "uint8":
        return crops
    return np.ascontiguousarray(np.moveaxis(crops, -1, 1).astype(np.float32) / np.float32(255))


@torch.no_grad()
def in_torch(run: Run, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (at the run's temperature) and probabilities of the run itself, [N, C] each."""
    method = run.method.eval()
    pixels = to_pixels(crops, run.backbone.preprocessing, run.backbone.device)
    logits = method(live_batch(run.backbone, method.facts.needs, pixels)).logits.float().cpu().numpy()
    logits = logits / np.float32(run.temperature)
    return logits, softmax(logits)


def compare(run: Run, compute: Compute, pixels: str, batches: Sequence[int] = BATCHES) -> Difference:
    """The largest differences over batches of several sizes; ExportError beyond TOLERANCE."""
    logits = probabilities = 0.0
    for batch in batches:
        crops = noise(run, batch, seed=batch)
        found = compute(fed(crops, pixels))
        wanted = in_torch(run, crops)
        worst = [np.abs(np.asarray(a) - b) for a, b in zip(found, wanted, strict=True)]
        logits, probabilities = max(logits, float(worst[0].max())), max(probabilities, float(worst[1].max()))
        allowed = TOLERANCE * np.maximum(1, np.abs(wanted[0]))
        if not ((worst[0] <= allowed).all() and worst[1].max() <= TOLERANCE):
            raise ExportError(
                f"the exported program differs from the run by {worst[0].max():.2g} in logits and "
                f"{worst[1].max():.2g} in probabilities (batch {batch}): nothing was written"
            )
    return Difference(logits, probabilities)
