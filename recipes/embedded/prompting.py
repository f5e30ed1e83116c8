"""Do visual prompts learn? Deep visual prompts on held-out pictures, against fixed class features.

While the blocks' residual branches are zero a prompt changes nothing; this is the measure of whether they were
trained enough to be worth prompting.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F
from judging import PROBED, Speak, names_of
from pictures import Picture
from torch import Tensor
from towers import ImageTower


def read_prompted(image: ImageTower, tokens: Tensor, prompts: Tensor) -> Tensor:
    """As `ImageTower.read`, with tokens of its own at each block: prompts [layers, P, width]."""
    first = tokens.mean(1, keepdim=True) + image.class_embedding
    x = torch.cat([first, tokens], 1) + image.positional_embedding
    for block, own in zip(image.blocks, prompts, strict=True):
        x = block(torch.cat([x, own.expand(len(x), -1, -1)], 1))[:, : x.shape[1]]
    return F.normalize(x[:, 0].float(), dim=-1)


def visual_prompts(image: ImageTower, cached: np.ndarray, listed: list[Picture], speak: Speak, source: str, scale: float,
                   count: int = 8, steps: int = 100, rate: float = 0.02, batch: int = 64) -> tuple[float, float]:  # fmt: skip
    """Per cent right before and after learning `count` tokens a block from few pictures a class of `source`."""
    rows = [i for i, p in enumerate(listed) if p.source == source]
    names = sorted({listed[i].name for i in rows})
    classes = names_of(speak, names)
    seen: Counter[str] = Counter()
    train, test = [], []
    for i in rows:
        seen[listed[i].name] += 1
        (train if seen[listed[i].name] <= PROBED[source] else test).append(i)
    label = {i: names.index(listed[i].name) for i in rows}
    generator = torch.Generator().manual_seed(0)
    prompts = torch.nn.Parameter(
        torch.randn(len(image.blocks), count, classes.shape[1], generator=generator) * 0.02
    )
    optimiser = torch.optim.AdamW([prompts], lr=rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    def tokens(some: list[int]) -> Tensor:
        with torch.no_grad():
            return image.grid(torch.from_numpy(cached[sorted(some)].astype(np.float32)))

    def right(prompted: bool) -> float:
        good = 0
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for start in range(0, len(test), 256):
                some = sorted(test[start : start + 256])
                features = (
                    read_prompted(image, tokens(some), prompts) if prompted else image.read(tokens(some))
                )
                guess = (features @ classes.T).argmax(1)
                good += int((guess == torch.tensor([label[i] for i in some])).sum())
        return 100 * good / len(test)

    before = right(prompted=False)
    for _ in range(steps):
        some = sorted(train[i] for i in torch.randperm(len(train), generator=generator)[:batch])
        with torch.autocast("cpu", torch.bfloat16):
            features = read_prompted(image, tokens(some), prompts)
        loss = F.cross_entropy(scale * features @ classes.T, torch.tensor([label[i] for i in some]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return before, right(prompted=True)
