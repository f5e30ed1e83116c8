"""Begin with a finished backbone instead of random values: the inverse of `export.py`.

Everything but the training-only head, the optimiser's state and the un-averaged parameters is in
an exported folder, so a longer run can go on from one that was shipped.
"""

import shutil
from pathlib import Path

import torch
from export import weights
from safetensors.torch import load_file
from torch import Tensor, nn
from towers import ImageTower, Sizes, TextTower
from train_image import Student, blocks_in, save


def _exported_names(image: ImageTower, text: TextTower) -> dict[str, tuple[nn.Module, str]]:
    """The exported name of every parameter: the tower it belongs to and its name there."""
    numbered, places = 0, {}
    for tower in (image, text):
        for name, value in tower.state_dict().items():
            numbered += 1
            value.fill_(float(numbered))
            places[numbered] = (tower, name)
    out = weights(image, text, 1.0)
    return {name: places[int(value.flatten()[0])] for name, value in out.items() if name != "logit_scale"}


def towers_of(folder: Path, sizes: Sizes) -> tuple[ImageTower, TextTower]:
    """Both towers of an exported folder, float32; `sizes.image_blocks` as in the folder."""
    image, text = ImageTower(sizes), TextTower(sizes)
    found, states = load_file(folder / "model.safetensors"), {image: {}, text: {}}
    for name, (tower, own) in _exported_names(image, text).items():
        states[tower][own] = found[name].float().view_as(tower.state_dict()[own])
    for tower, state in states.items():
        tower.load_state_dict(state)
    return image, text


def image_blocks_of(folder: Path) -> int:
    prefix = "vision_model.encoder.layers."
    return 1 + max(
        int(n[len(prefix) :].split(".")[0])
        for n in load_file(folder / "model.safetensors")
        if n.startswith(prefix)
    )


def begin_with(folder: Path, sizes: Sizes, work: Path) -> None:
    """Write `tok/`, `text.pt` and `image.pt` into `work` from an exported folder, where they are missing."""
    (work / "tok").mkdir(exist_ok=True)
    for file in (
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer_config.json",
    ):
        if not (work / "tok" / file).exists():
            shutil.copy(folder / file, work / "tok" / file)
    image, text = towers_of(folder, sizes)
    if not (work / "text.pt").exists():
        save(work / "text.pt", {"tower": text.state_dict(), "step": 0})
    if not (work / "image.pt").exists():
        student = Student(sizes)
        student.tower.load_state_dict(image.state_dict())
        state: dict[str, Tensor] = student.state_dict()
        assert blocks_in(state) == sizes.image_blocks
        torch.manual_seed(0)
        save(work / "image.pt", {"student": state, "average": state, "step": 0, "images": 0, "seconds": 0.0})
