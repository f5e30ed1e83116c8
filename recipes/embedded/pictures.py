"""Training pictures as arrays in memory, and cutting crops out of them.

Tiny ImageNet stays at its own 64 px; Flickr8k is kept at 96 px, so that crops of it are sharp.
"""

import csv
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

FLICKR_SIZE = 96
FLICKR_HELD_OUT = 500  # last pictures by name: never trained on, for choosing settings


@dataclass(frozen=True)
class Pictures:
    """One set of pictures.

    pixels: [N, S, S, 3] uint8. keys: [N], a WordNet id (Tiny ImageNet) or a file name (Flickr8k).
    """

    pixels: np.ndarray
    keys: list[str]


def _decode(data: bytes, size: int) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _load(path: Path, names: list[str], size: int) -> np.ndarray:
    """Pictures `names` of a zip file, [N, size, size, 3] uint8."""
    pixels = np.empty((len(names), size, size, 3), np.uint8)
    with zipfile.ZipFile(path) as archive, ThreadPoolExecutor(2) as pool:
        # `zipfile` reads one member at a time; decoding is what takes time and runs beside it.
        blobs = (archive.read(name) for name in names)
        for i, image in enumerate(pool.map(_decode, blobs, [size] * len(names))):
            pixels[i] = image
    return pixels


def _cached(file: Path, path: Path, names: list[str], size: int) -> np.ndarray:
    if not file.exists():
        part = file.with_suffix(".part")
        with part.open("wb") as stream:
            np.save(stream, _load(path, names, size))
        part.rename(file)
    return np.load(file, mmap_mode="r")


def tiny_imagenet(pretrain: Path, work: Path, split: str) -> Pictures:
    """Tiny ImageNet, `split` "train" (70,000) or "val" (5,000), [N, 64, 64, 3]."""
    path = pretrain / "tiny-imagenet.zip"
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.startswith(f"{split}/") and n.endswith(".webp"))
    pixels = _cached(work / f"tiny-{split}.npy", path, names, 64)
    return Pictures(pixels, [name.split("/")[1] for name in names])


def flickr(pretrain: Path, work: Path) -> tuple[Pictures, dict[str, list[str]]]:
    """Flickr8k, [N, 96, 96, 3], and its five captions per file name."""
    path = pretrain / "flickr8k.zip"
    captions: dict[str, list[str]] = {}
    with zipfile.ZipFile(path) as archive:
        with archive.open("captions.csv") as stream:
            for row in csv.DictReader(io.TextIOWrapper(stream, "utf-8")):
                captions.setdefault(row["image"], []).append(row["caption"].strip())
        names = sorted(n for n in archive.namelist() if n.startswith("images/") and n.endswith(".webp"))
    pixels = _cached(work / "flickr.npy", path, names, FLICKR_SIZE)
    return Pictures(pixels, [name.split("/")[1] for name in names]), captions


def random_boxes(count: int, generator: torch.Generator, area: tuple[float, float]) -> torch.Tensor:
    """Random crops as fractions of the picture: [count, 4] = top, left, height, width."""
    u = torch.rand(count, 4, generator=generator)
    scale = area[0] + (area[1] - area[0]) * u[:, 0]
    aspect = (4 / 3) ** (2 * u[:, 1] - 1)
    height = (scale / aspect).sqrt().clamp(max=1)
    width = (scale * aspect).sqrt().clamp(max=1)
    return torch.stack([(1 - height) * u[:, 2], (1 - width) * u[:, 3], height, width], 1)


def within(outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """Boxes `inner`, given as fractions of boxes `outer`, as fractions of the picture: [B, 4]."""
    return torch.cat([outer[:, :2] + inner[:, :2] * outer[:, 2:], inner[:, 2:] * outer[:, 2:]], 1)


def _filter(start: torch.Tensor, length: torch.Tensor, size: int, out: int) -> torch.Tensor:
    """Weights [B, out, size] of a triangle filter that is widened when it shrinks the picture."""
    step = (length * size / out)[:, None]
    centre = start[:, None] * size + (torch.arange(out, device=start.device) + 0.5) * step  # [B, out]
    pixel = torch.arange(size, device=start.device) + 0.5
    weight = (1 - (centre[..., None] - pixel).abs() / step[..., None].clamp(min=1)).clamp(min=0)
    return weight / weight.sum(-1, keepdim=True)


def crop(pixels: torch.Tensor, boxes: torch.Tensor, out: int) -> torch.Tensor:
    """Cut `boxes` out and resize them: [B, S, S, 3] uint8, [B, 4] -> [B, 3, out, out] in 0..255.

    Two small matrix products per picture: no loop over pictures, and no aliasing.
    """
    size = pixels.shape[1]
    rows = _filter(boxes[:, 0], boxes[:, 2], size, out)
    columns = _filter(boxes[:, 1], boxes[:, 3], size, out)
    x = pixels.permute(0, 3, 1, 2).float()  # [B, 3, S, S]
    return rows[:, None] @ x @ columns[:, None].transpose(-1, -2)
