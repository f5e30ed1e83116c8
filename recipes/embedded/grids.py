"""What the stem sees, computed once and kept on disk: the stem is never trained, so its output never changes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from pictures import Picture, pixels
from torch import Tensor
from towers import Stem


@torch.no_grad()
def grid_of(stem: Stem, pictures: np.ndarray, device: torch.device) -> Tensor:
    """[B, S, S, 3] uint8 -> [B, cells, channels] float32, in bf16 on the way."""
    x = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float().sub(127).div(128)
    with torch.autocast(device.type, torch.bfloat16):
        y = stem(x.contiguous(memory_format=torch.channels_last))
    return y.flatten(2).transpose(1, 2).float()


def extract(key: str, archive: Path, listed: list[Picture], stem: Stem, size: int, work: Path,
            device: torch.device, upto: int | None = None, batch: int = 64) -> np.ndarray:  # fmt: skip
    """Grids [N, cells, channels] float16 of pictures in `archive`, as a memory map of those that are done.

    Goes on where it was stopped, in the order of `listed`, until `upto` of them are done.
    """
    file, count = work / f"{key}-{size}.npy", work / f"{key}-{size}.done"
    shape = (len(listed), (size // 32) ** 2, stem.last.out_channels)
    if not file.exists():
        np.lib.format.open_memmap(file, "w+", np.float16, shape)
        count.write_text("0")
    done = int(count.read_text())
    upto = min(len(listed), upto or len(listed))
    if done < upto:
        out = np.load(file, mmap_mode="r+")
        with zipfile.ZipFile(archive) as members:
            for start in range(done, upto, batch):
                block = np.stack(
                    [pixels(members.read(p.path), size) for p in listed[start : min(upto, start + batch)]]
                )
                out[start : start + len(block)] = grid_of(stem, block, device).half().cpu().numpy()
                count.write_text(str(start + len(block)))
        out.flush()
    return np.load(file, mmap_mode="r")[: int(count.read_text())]


def pooled(grids: np.ndarray, batch: int = 1024) -> Tensor:
    """Mean over the cells: [N, channels] float32."""
    return torch.cat(
        [
            torch.from_numpy(grids[i : i + batch].astype(np.float32)).mean(1)
            for i in range(0, len(grids), batch)
        ]
    )
