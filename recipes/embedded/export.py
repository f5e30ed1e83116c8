"""The finished folder: config.json, model.safetensors, tokenizer.json, preprocessing facts, card and licences.

A weight matrix is stored in fp16, or in int8 with a scale per row (NAME.scale, fp16): value = int8 x scale.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from pictures import MEAN, STD
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from towers import Config, ImageTower, TextTower

# Their features differ by a cosine of 0.9998 (texts) and 0.99996 (pictures) from fp16's, the file by 18 MB. The
# convolutions stay in fp16: they are small. So does the kernel's layer: its exponential magnifies errors.
INT8 = ("text.token_embedding.", "text.blocks.", "image.blocks.", "image.grid.")


def rows_to_int8(value: Tensor) -> tuple[Tensor, Tensor]:
    """[R, C] -> int8 [R, C] and fp16 scale [R]; every row uses its whole range."""
    scale = (value.abs().amax(1) / 127).clamp(min=1e-7).half()
    return (value / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def stored(image: ImageTower, text: TextTower) -> dict[str, Tensor]:
    tensors = {}
    for tower, module in (("image", image), ("text", text)):
        for name, value in module.state_dict().items():
            name, value = f"{tower}.{name}", value.detach().float().cpu().contiguous()
            if value.ndim == 2 and name.startswith(INT8):
                tensors[name], tensors[f"{name}.scale"] = rows_to_int8(value)
            else:
                tensors[name] = value.half()
                assert tensors[name].isfinite().all(), name
    return tensors


def logit_scale(features: Tensor, classes: Tensor, labels: Tensor) -> float:
    """The scale with the least cross entropy on held-out pictures, within CLIP's range."""
    scales = torch.arange(10, 101).float()
    losses = [float(F.cross_entropy(scale * features @ classes.T, labels)) for scale in scales]
    return float(scales[int(torch.tensor(losses).argmin())])


def export(config: Config, image: ImageTower, text: TextTower, tokenizer: Tokenizer, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    size = config["image"]["size"]
    save_file(stored(image, text), out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # the library leaves it to its writer alone
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer.save(str(out / "tokenizer.json"))
    steps = {
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }
    (out / "preprocessor_config.json").write_text(json.dumps(steps, indent=2) + "\n")
    for file in (Path(__file__).parent / "card").iterdir():
        shutil.copy(file, out / file.name)
