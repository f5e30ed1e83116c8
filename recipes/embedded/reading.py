"""A finished folder read into the towers of `towers.py`, and the features that define what is right."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch
from pictures import pixels
from PIL import Image
from safetensors.torch import load_file
from sentences import encode, padded
from tokenizers import Tokenizer
from torch import Tensor
from towers import Config, ImageTower, TextTower


def weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor in float32; int8 rows times their scales."""
    raw = load_file(folder / "model.safetensors")
    result = {}
    for name, value in raw.items():
        if name + ".scale" in raw:
            result[name] = value.float() * raw[name + ".scale"].float()[:, None]
        elif not (name.endswith(".scale") and name.removesuffix(".scale") in raw):
            result[name] = value.float()
    return result


class Backbone:
    """Both towers of a folder in float32, for reference."""

    def __init__(self, folder: Path) -> None:
        self.config: Config = json.loads((folder / "config.json").read_text())
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.image, self.text = ImageTower(self.config["image"]), TextTower(self.config["text"], self.config["embed_dim"])
        tensors = weights(folder)
        for tower, module in (("image.", self.image), ("text.", self.text)):
            module.load_state_dict({k.removeprefix(tower): v for k, v in tensors.items() if k.startswith(tower)})
            module.eval().requires_grad_(False)
        self.image.to(memory_format=torch.channels_last)

    def pictures(self, files: list[bytes], precision: torch.dtype = torch.float32) -> Tensor:
        """Unit-length features [N, embed_dim] of encoded pictures."""
        x = np.stack([pixels(data, self.config["image"]["size"]) for data in files])
        x = torch.from_numpy(x).permute(0, 3, 1, 2).float().sub(127).div(128).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            return self.image(x)

    def texts(self, lines: list[str]) -> Tensor:
        """Unit-length features [N, embed_dim]."""
        with torch.no_grad():
            return self.text(*padded(encode(self.tokenizer, lines), torch.device("cpu")))


def encoded(image: Image.Image) -> bytes:
    """A picture as PNG, for tests."""
    stream = io.BytesIO()
    image.save(stream, "png")
    return stream.getvalue()
