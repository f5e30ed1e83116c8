"""Makes small pictures and archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def png(seed: int | str, size: tuple[int, int] = (6, 5), format: str = "PNG") -> bytes:
    """A small picture whose pixels depend on the seed."""
    generator = np.random.default_rng(zlib.crc32(seed.encode()) if isinstance(seed, str) else seed)
    pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format)
    return out.getvalue()


def grid(classes: Iterable[str], count: int = 4, prefix: str = "") -> list[str]:
    """Paths of `count` pictures in each class folder."""
    return [f"{prefix}{name}/{number:02d}.png" for name in classes for number in range(count)]


def zipped(path: Path, files: Mapping[str, bytes | str], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, files: Mapping[str, bytes], mode: str = "w", prefix: str = "") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
