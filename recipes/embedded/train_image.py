"""Teach the image tower what the image teacher sees, in the space of the (finished) text tower.

Four losses, all on the unit-length image features f:
- cross entropy between the teacher's 1,000-class distribution (mixed with the label where there is
  one) and softmax(scale * f . class text features);
- cosine distance to the text feature of that distribution, the probability-weighted mean;
- a training-only linear head on f predicts the teacher's pooled features;
- symmetric contrastive loss with the Flickr8k captions of the batch.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import image_teacher
import numpy as np
import torch
import torch.nn.functional as F
import workers
from optimiser import Average, Optimiser, rate
from pictures import FLICKR_HELD_OUT, Pictures, crop, random_boxes, within
from torch import Tensor, nn
from towers import ImageTower, Sizes

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
FLICKR_SHARE = 0.15
LABEL_SHARE = 0.4  # of the target distribution, where a picture has a label
WEIGHTS = {"classes": 1.0, "text": 1.0, "teacher": 2.0, "captions": 0.3}
# (share of the run, patches kept): most of it is cheap, the end sees whole pictures as users do.
DECAY = 0.4  # share of the run in which the learning rate falls
SAVE_SECONDS = 240
PATCHES = ((0.0, 16), (0.7, 32), (0.87, 64))


@dataclass(frozen=True)
class Source:
    """Training pictures with what the teachers say of them.

    pixels: [N, S, S, 3] uint8. boxes: per view [N, 4]. features: per view [N, 1280] fp16.
    labels: [N], the ImageNet class or -1. captions: [N, 5, embed_dim] or None.
    """

    pixels: np.ndarray
    boxes: list[Tensor]
    features: list[np.ndarray]
    labels: Tensor
    captions: Tensor | None


def source(name: str, pictures: Pictures, ids: list[str], captions: Tensor | None, work: Path) -> Source:
    """Gather a picture set and as many teacher views as are finished."""
    count = len(pictures.pixels) - (FLICKR_HELD_OUT if captions is not None else 0)
    views = 0
    while image_teacher.features_file(work, name, views).exists():
        views += 1
    if not views:
        raise FileNotFoundError(f"no teacher features of {name} in {work}: run the stage 'teacher' first")
    features = [
        np.load(image_teacher.features_file(work, name, v), mmap_mode="r")[:count] for v in range(views)
    ]
    boxes = [image_teacher.view_boxes(name, v, len(pictures.pixels))[:count] for v in range(views)]
    position = {key: i for i, key in enumerate(ids)}
    labels = torch.tensor([position.get(key, -1) for key in pictures.keys[:count]])
    return Source(pictures.pixels[:count], boxes, features, labels, captions)


def colour_jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random contrast, brightness, saturation, hue-like channel gains, sometimes grey. x: [B, 3, H, W] in 0..255."""
    b, device = len(x), x.device
    u = torch.rand(b, 7, 1, 1, 1, generator=generator).to(device)
    grey = (x * x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    saturation = torch.where(u[:, 0] < 0.08, torch.zeros_like(u[:, 0]), 0.5 + u[:, 1])
    x = grey + (x - grey) * saturation
    x = x * torch.cat([0.85 + 0.3 * u[:, i] for i in (2, 3, 4)], 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    return ((x - mean) * (0.6 + 0.8 * u[:, 5]) + mean * (0.7 + 0.6 * u[:, 6])).clamp(0, 255)


def normalise(x: Tensor) -> Tensor:
    """0..255 to what the tower takes, [B, 3, H, W]."""
    return (x / 255 - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)


def draw(
    src: Source, count: int, size: int, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, ...]:
    """Augmented pictures [B, 3, size, size], teacher features [B, 1280], labels [B], captions [B, D] or None."""
    chosen = torch.randint(len(src.labels), (count,), generator=generator)
    view = torch.randint(len(src.boxes), (count,), generator=generator)
    outer = torch.stack(src.boxes)[view, chosen]
    # A crop's target belongs to that crop, so stay near it; the whole picture is cut more freely.
    whole = (view == 0)[:, None]
    inner = torch.where(
        whole, random_boxes(count, generator, (0.4, 1.0)), random_boxes(count, generator, (0.75, 1.0))
    )
    order = chosen.numpy()
    features = torch.from_numpy(
        np.stack([src.features[v][i] for v, i in zip(view.tolist(), order, strict=True)])
    )
    x = crop(torch.from_numpy(src.pixels[order]).to(device), within(outer, inner).to(device), size)
    flip = (torch.rand(count, generator=generator) < 0.5).to(device).view(-1, 1, 1, 1)
    x = normalise(colour_jitter(torch.where(flip, x.flip(3), x), generator))
    captions = None
    if src.captions is not None:
        captions = src.captions[chosen, torch.randint(5, (count,), generator=generator)].to(device)
    return x, features.to(device).float(), src.labels[chosen].to(device), captions


def batches(
    sources: list[Source], batch: int, size: int, seed: int, device: torch.device
) -> Iterator[tuple[Tensor, ...]]:
    """Endless batches; the Flickr8k part comes last in each."""
    generator = torch.Generator().manual_seed(seed)
    second = round(batch * FLICKR_SHARE)
    while True:
        x1, f1, l1, _ = draw(sources[0], batch - second, size, generator, device)
        x2, f2, l2, captions = draw(sources[1], second, size, generator, device)
        yield torch.cat([x1, x2]), torch.cat([f1, f2]), torch.cat([l1, l2]), captions


class Student(nn.Module):
    """The image tower with what only training needs: the head and the logit scale (as a logarithm)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.tower = ImageTower(sizes)
        self.head = nn.Linear(sizes.embed_dim, image_teacher.WIDTH)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor, keep: int | None = None) -> Tensor:
        """Unit-length features [B, embed_dim]."""
        return F.normalize(self.tower.projection(self.tower(x, keep)).float(), dim=1)


class Losses(nn.Module):
    """The four losses. classes: text features [1000, D]; statistics of sqrt(teacher features): [1280] each."""

    def __init__(self, classes: Tensor, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        weight, bias = image_teacher.classifier()
        for name, value in (
            ("classes", classes),
            ("mean", mean),
            ("std", std),
            ("weight", weight),
            ("bias", bias),
        ):
            self.register_buffer(name, value)

    def forward(
        self, student: Student, f: Tensor, features: Tensor, labels: Tensor, captions: Tensor
    ) -> dict[str, Tensor]:
        target = F.softmax(features @ self.weight.T + self.bias, 1)  # [B, 1000]
        labelled = (labels >= 0)[:, None]
        sure = F.one_hot(labels.clamp(min=0), len(self.classes)).to(target)
        target = torch.where(labelled, (1 - LABEL_SHARE) * target + LABEL_SHARE * sure, target)
        scale = student.logit_scale.exp()
        # Pooled ReLU features are heavy-tailed: their square roots are nearer to normal.
        wanted = (features.clamp(min=0).sqrt() - self.mean) / self.std
        with torch.autocast(f.device.type, torch.bfloat16):
            got = student.head(f * f.shape[1] ** 0.5)
            logits = f @ self.classes.T
        pairs = scale * f[-len(captions) :] @ captions.T
        own = torch.arange(len(pairs), device=f.device)
        return {
            "classes": F.cross_entropy(scale * logits.float(), target),
            "text": (1 - (f * F.normalize(target @ self.classes, dim=1)).sum(1)).mean(),
            "teacher": F.mse_loss(got.float(), wanted),
            "captions": (F.cross_entropy(pairs, own) + F.cross_entropy(pairs.T, own)) / 2,
        }


@dataclass(frozen=True)
class Held:
    """Held-out pictures [N, 3, S, S]: Tiny ImageNet's val with labels among `classes` [200, D]; Flickr8k's last with captions."""

    tiny: Tensor
    labels: Tensor
    classes: Tensor
    flickr: Tensor
    captions: Tensor


@torch.no_grad()
def check(student: Student, held: Held) -> str:
    """Zero-shot accuracy and image-to-caption recall on held-out pictures, whole."""
    with torch.autocast(held.tiny.device.type, torch.bfloat16):
        tiny = torch.cat([student(x) for x in held.tiny.split(250)])
        flickr = torch.cat([student(x) for x in held.flickr.split(250)])
    accuracy = (
        (held.classes[(tiny @ held.classes.T).argmax(1)] == held.classes[held.labels]).all(1).float().mean()
    )
    ranks = (flickr @ held.captions.T).topk(10, dim=1).indices == torch.arange(
        len(flickr), device=flickr.device
    )[:, None]
    return f"held-out: Tiny ImageNet zero-shot {100 * accuracy:.1f} %, caption recall@10 {100 * ranks.any(1).float().mean():.1f} %"


def grown(state: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """A student's parameters with every block repeated until there are `blocks`.

    Half of a run with half of the blocks costs half as much and is not lost: Efficient Training of
    BERT by Progressively Stacking (Gong et al., ICML 2019).
    """
    old = blocks_in(state)
    out = {name: value for name, value in state.items() if not name.startswith("tower.layers.")}
    for block in range(blocks):
        prefix = f"tower.layers.{block * old // blocks}."
        for name, value in state.items():
            if name.startswith(prefix):
                # Two copies one after the other do what one did if each adds half as much.
                share = old / blocks if "out_proj" in name or "fc2" in name else 1.0
                out[f"tower.layers.{block}.{name.removeprefix(prefix)}"] = value * share
    return out


def save(file: Path, state: dict) -> None:
    torch.save(state, file.with_suffix(".part"))
    os.replace(file.with_suffix(".part"), file)


def blocks_in(state: dict[str, Tensor]) -> int:
    """How many blocks a student's parameters have."""
    return 1 + max(int(name.split(".")[2]) for name in state if name.startswith("tower.layers."))


def train_image(
    sources: list[Source],
    classes: Tensor,
    held: Held,
    sizes: Sizes,
    work: Path,
    device: torch.device,
    minutes: float,
    batch: int = 512,
    lr: float = 2e-3,
    compiled: bool = False,
) -> Student:
    """Train for `minutes` of wall clock (earlier runs' included), going on from `image.pt` if it is there.

    Writes `image.pt` every few minutes, and `image-constant.pt` when the learning rate begins to
    fall: put in place of `image.pt`, a longer run goes on from there.
    """
    torch.manual_seed(0)  # the same initial values in every process
    first = torch.from_numpy(sources[0].features[0][::7].astype(np.float32)).clamp(min=0).sqrt()
    losses = Losses(classes.cpu(), first.mean(0), first.std(0) + 0.05).to(device)
    student = Student(sizes).to(device)
    student.tower.whiten(draw(sources[1], 256, sizes.image_size, torch.Generator().manual_seed(0), device)[0])
    optimiser, average = Optimiser(student, lr), Average(student)
    step, images, before = 0, 0, 0.0
    if (work / "image.pt").exists():
        state = torch.load(work / "image.pt", map_location=device, weights_only=True)
        same = len(state["student"]) == len(student.state_dict())
        if same and "optimiser" in state:
            optimiser.load_state_dict(state["optimiser"])
        for module, name in ((student, "student"), (average.module, "average")):
            module.load_state_dict(state[name] if same else grown(state[name], sizes.image_blocks))
        step, images, before = state["step"], state["images"], state["seconds"]
    see = torch.compile(student) if compiled else student  # half as fast again on a CPU
    seed = step * workers.count() + workers.rank()
    torch.manual_seed(seed)
    run = batches(sources, batch // workers.count(), sizes.image_size, seed, device)
    start = saved = time.time()
    sums, since, falling = dict.fromkeys(WEIGHTS, 0.0), step, False
    while True:
        seconds = before + time.time() - start
        progress = workers.agreed(seconds / (60 * minutes), device)
        turns = not falling and progress > 1 - DECAY
        falling = progress > 1 - DECAY
        if workers.rank() == 0 and (turns or progress >= 1 or time.time() - saved > SAVE_SECONDS):
            state = {"student": student.state_dict(), "average": average.module.state_dict(), "step": step}
            state |= {"optimiser": optimiser.state_dict(), "images": images, "seconds": seconds}
            save(work / "image.pt", state)
            if turns and progress < 1:
                save(work / "image-constant.pt", state)
            means = ", ".join(f"{name} {value / max(1, step - since):.3f}" for name, value in sums.items())
            scale = student.logit_scale.exp().item()
            print(
                f"image: {100 * progress:.0f} %, {seconds / 60:.1f} min, step {step}, {images} pictures; {means}, "
                f"scale {scale:.1f}; {check(average.module, held)}",
                flush=True,
            )
            saved, sums, since = time.time(), dict.fromkeys(WEIGHTS, 0.0), step
        if progress >= 1:
            return average.module
        keep = next(patches for begin, patches in reversed(PATCHES) if progress >= begin)
        x, features, labels, captions = next(run)
        with torch.autocast(device.type, torch.bfloat16):
            f = see(x, keep)
        parts = losses(student, f, features, labels, captions)
        optimiser.step(
            sum(WEIGHTS[name] * value for name, value in parts.items()), rate(progress, step, DECAY)
        )
        average.update(student, step)
        step, images = step + 1, images + batch
        for name, value in parts.items():
            sums[name] += value.item()
