"""The training pictures by name, and a picture as numbers, exactly as vlprompt's preprocessing does it."""

from __future__ import annotations

import csv
import io
import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

# Sets of `named.zip` whose pictures are for research, not for sale, or not itemised: never trained on.
RESEARCH_ONLY = (
    "aid",
    "food101",
    "nwpu12",
    "ikea",
    "openstax-nc",
    "wikipedia-words",
    "zukan",
    "popular-animals",
    "intel-scenes",
)
MEAN, STD = 127 / 255, 128 / 255  # of values in 0..1: (x - 127) / 128 of 0..255


@dataclass(frozen=True)
class Picture:
    """path: in the archive. name: what it shows, or "". kind, source: of `named.zip`, else the archive."""

    path: str
    name: str = ""
    kind: str = ""
    source: str = ""


def rows(archive: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    with archive.open(name) as stream:
        return list(csv.DictReader(io.TextIOWrapper(stream, "utf-8")))


def tiny_imagenet(pretrain: Path, split: str) -> list[Picture]:
    """`name` is the WordNet id. Shuffled once, so that any beginning of the list is a fair sample."""
    with zipfile.ZipFile(pretrain / "tiny-imagenet.zip") as archive:
        paths = sorted(p for p in archive.namelist() if p.startswith(f"{split}/") and p.endswith(".webp"))
    random.Random(1).shuffle(paths)
    return [Picture(p, p.split("/")[1], "photo", "tiny-imagenet") for p in paths]


def flickr(pretrain: Path) -> tuple[list[Picture], dict[str, list[str]]]:
    """Pictures in the order of their file names, and the captions of each path."""
    with zipfile.ZipFile(pretrain / "flickr8k.zip") as archive:
        paths = sorted(p for p in archive.namelist() if p.endswith(".webp"))
        stem = {Path(p).stem: p for p in paths}
        captions: dict[str, list[str]] = {}
        for row in rows(archive, "captions.csv"):
            captions.setdefault(stem[Path(row["image"]).stem], []).append(row["caption"].strip())
    return [Picture(p, "", "photo", "flickr8k") for p in paths], captions


def named(pretrain: Path) -> tuple[list[Picture], dict[str, list[str]]]:
    """Pictures with names, and captions by path (their pictures come last in the list, without a name)."""
    if not (pretrain / "named.zip").exists():
        return [], {}
    with zipfile.ZipFile(pretrain / "named.zip") as archive:
        listed = [Picture(r["image"], r["name"], r["kind"], r["set"]) for r in rows(archive, "names.csv")]
        captions: dict[str, list[str]] = {}
        for row in rows(archive, "captions.csv"):
            captions.setdefault(row["image"], []).append(row["caption"].strip())
    known = {p.path for p in listed}
    return listed + [Picture(p, "", "caption", p.split("/")[1]) for p in captions if p not in known], captions


def pixels(data: bytes, size: int) -> np.ndarray:
    """Shorter side to `size` (bicubic), centre crop: [size, size, 3] uint8."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = image.size
    if min(width, height) != size:
        long = int(size * max(width, height) / min(width, height))
        width, height = (size, long) if width <= height else (long, size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)), np.uint8)
