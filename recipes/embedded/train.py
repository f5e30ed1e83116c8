"""Train the image tower's blocks on cached grids; everything else stays as the closed form made it.

No text tower runs here: what texts look like in the joint space is known from the closed form, so each step is the
blocks alone. The losses, on unit-length features:

- stay: cosine distance to the features of the closed form, and to its distribution over the 1,000 class directions;
- captions: Flickr8k's pictures and captions find each other within a batch;
- names: pictures of named sets find their name among those of the batch;
- labels: Tiny ImageNet's labels among its 200 names.

Weights are averaged over the steps (exponentially); the average is what is judged and shipped.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from towers import ImageTower


@dataclass(frozen=True)
class Recipe:
    batch: int = 64
    rate: float = 1e-3
    warm_up: int = 30
    average: float = 0.99
    scale: float = 30.0
    stay: float = 4.0
    distribution: float = 1.0
    captions: float = 0.5
    names: float = 0.3
    labels: float = 0.3
    noise: float = 0.33  # share of grid cells left out of a picture: another view, at no cost


@dataclass(frozen=True)
class Source:
    """grids: [N, cells, channels] float16. texts: [T, D] features. owner: [N] -> rows of texts, ragged."""

    kind: str  # "captions", "names" or "labels"
    grids: np.ndarray
    texts: Tensor
    rows: list[list[int]]


def contrast(features: Tensor, texts: Tensor, same: Tensor, scale: float) -> Tensor:
    """Symmetric cross entropy within a batch; texts that are the same count as right in equal parts."""
    logits = scale * features @ texts.T
    target = same.float()
    one = -(target / target.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    other = -(target / target.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (one + other) / 2


def losses(
    features: Tensor, start: Tensor, source: Source, chosen: list[int], directions: Tensor, r: Recipe
) -> dict[str, Tensor]:
    """Each loss by name, not yet weighted. chosen: the row of `source.texts` of each picture."""
    stay = (1 - (features * start).sum(1)).mean()
    teacher = (r.scale * start @ directions.T).softmax(1)
    student = (r.scale * features @ directions.T).log_softmax(1)
    distribution = F.kl_div(student, teacher, reduction="batchmean")
    picked = torch.tensor(chosen)
    if source.kind == "labels":
        own = F.cross_entropy(r.scale * features @ source.texts.T, picked, label_smoothing=0.1)
    else:
        own = contrast(features, source.texts[picked], picked[:, None] == picked[None], r.scale)
    return {"stay": stay, "distribution": distribution, source.kind: own}


def batches(sources: list[Source], size: int, seed: int) -> Iterator[tuple[Source, list[int]]]:
    """Batches of one source at a time, each source as often as its pictures ask (by the root of their number)."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.tensor([len(s.grids) ** 0.5 for s in sources])
    orders: list[list[int]] = [[] for _ in sources]
    while True:
        i = int(torch.multinomial(share, 1, generator=generator))
        if len(orders[i]) < size:
            orders[i] = torch.randperm(len(sources[i].grids), generator=generator).tolist()
        rows, orders[i] = sorted(orders[i][:size]), orders[i][size:]  # sorted: fewer jumps on the disk
        yield sources[i], rows


def train(image: ImageTower, sources: list[Source], directions: Tensor, folder: Path, minutes: float, r: Recipe,
          device: torch.device, end: float = math.inf) -> ImageTower:  # fmt: skip
    """The tower with averaged weights after `minutes` of wall clock; goes on from blocks.pt in `folder`."""
    for name, p in image.named_parameters():
        p.requires_grad_(name.startswith("blocks.") or name in ("class_embedding", "positional_embedding"))
    learnt = [p for p in image.parameters() if p.requires_grad]
    matrices, others = [p for p in learnt if p.ndim > 1], [p for p in learnt if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0}], lr=r.rate
    )
    start_tower, average, step, spent = copy.deepcopy(image), copy.deepcopy(image), 0, 0.0
    start_tower.blocks = torch.nn.ModuleList()  # blocks that add nothing: the closed form
    start_tower.class_embedding.data.zero_()
    start_tower.positional_embedding.data.zero_()
    file = folder / "blocks.pt"
    if file.exists():
        state = torch.load(file, map_location=device)
        image.load_state_dict(state["image"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["seconds"]
    generator = torch.Generator().manual_seed(1 + step)
    began, saved, sums = time.time() - spent, time.time(), {}
    for source, rows in batches(sources, r.batch, step):
        progress = (time.time() - began) / (60 * minutes)
        if progress >= 1 or time.time() > end:
            break
        # By the clock, since how fast steps are depends on who else uses the machine.
        rate = r.rate * min(1, (step + 1) / r.warm_up) * min(1.0, 2 * (1 - progress))
        for group in optimiser.param_groups:
            group["lr"] = rate
        grid = torch.from_numpy(source.grids[rows].astype(np.float32)).to(device)
        chosen = [
            source.rows[i][int(torch.randint(len(source.rows[i]), (1,), generator=generator))] for i in rows
        ]
        keep = (
            torch.rand(grid.shape[1], generator=generator)
            .argsort()[: round(grid.shape[1] * (1 - r.noise))]
            .sort()
            .values
        )
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                tokens = image.grid(grid).float()
                start = F.normalize(tokens.mean(1), dim=1)  # of the whole picture
            features = read_some(image, tokens, keep)
        parts = losses(features, start, source, chosen, directions, r)
        total = sum(getattr(r, name) * value for name, value in parts.items())
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        step += 1
        decay = min(r.average, 1 - 1 / (step + 1))
        with torch.no_grad():
            for a, p in zip(average.parameters(), image.parameters(), strict=True):
                if p.requires_grad:
                    a.lerp_(p, 1 - decay)
        for name, value in parts.items():
            sums.setdefault(name, []).append(float(value.detach()))
        if step % 50 == 0:
            print(
                f"step {step}, {(time.time() - began) / 60:.1f} min: "
                + ", ".join(f"{k} {np.mean(v):.3f}" for k, v in sums.items()),
                flush=True,
            )
            sums = {}
        if time.time() - saved > 180:
            save(file, image, average, optimiser, step, time.time() - began)
            saved = time.time()
    save(file, image, average, optimiser, step, time.time() - began)
    return average


def read_some(image: ImageTower, tokens: Tensor, keep: Tensor) -> Tensor:
    """The features from the cells `keep` alone."""
    first = tokens[:, keep].mean(1, keepdim=True) + image.class_embedding + image.positional_embedding[0]
    x = torch.cat([first, tokens[:, keep] + image.positional_embedding[1 + keep]], 1)
    for block in image.blocks:
        x = block(x)
    return F.normalize(x[:, 0].float(), dim=-1)


@torch.no_grad()
def damped(image: ImageTower, share: float) -> ImageTower:
    """The tower whose blocks add `share` of what they learnt: between the closed form (0) and the trained one (1)."""
    image = copy.deepcopy(image)
    for block in image.blocks:
        for layer in (block.out, block.proj):
            layer.weight.mul_(share)
            layer.bias.mul_(share)
    image.class_embedding.mul_(share)
    image.positional_embedding.mul_(share)
    return image


def save(
    file: Path,
    image: ImageTower,
    average: ImageTower,
    optimiser: torch.optim.Optimizer,
    step: int,
    seconds: float,
) -> None:
    state = {
        "image": image.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    part = file.with_suffix(".part")
    torch.save(state | {"step": step, "seconds": seconds}, part)
    part.replace(file)
