"""Both towers in plain torch: the obvious forward pass that defines what the weights mean.

Image tower: convolutions (EfficientNet-Lite2, batch norm folded in) -> grid of vectors -> linear to the joint
width -> [class token; grid tokens] through pre-norm blocks -> the class token, unit length. The class token
starts as the mean of the grid, so that blocks that add nothing leave the pooled features as they are.
Text tower: BERT (post-norm, no mask but the padding's), mean over the tokens, a hidden layer where
the config has one, linear with bias, unit length.

Everything is built from `config` (plain data, the config.json of a finished folder); names of parameters are the
names of the tensors in its model.safetensors.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Config = dict[str, Any]


class Convolution(nn.Conv2d):
    """Convolution with bias; `padding` = [before, after] in pixels, the same for both axes."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, padding: list[int], groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        self.before, self.after = padding

    def forward(self, x: Tensor) -> Tensor:
        if self.before == self.after:  # what convolutions do by themselves is faster
            return F.conv2d(x, self.weight, self.bias, self.stride, self.before, 1, self.groups)
        x = F.pad(x, (self.before, self.after, self.before, self.after))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


class Bottleneck(nn.Module):
    """1x1 up to `hidden` channels, one filter per channel, 1x1 down to `outputs`; added to its input where `residual`."""

    def __init__(self, sizes: Config) -> None:
        super().__init__()
        hidden = sizes["hidden"]
        self.expand = (
            Convolution(sizes["inputs"], hidden, 1, 1, [0, 0]) if hidden != sizes["inputs"] else None
        )
        self.depthwise = Convolution(
            hidden, hidden, sizes["kernel"], sizes["stride"], sizes["padding"], groups=hidden
        )
        self.project = Convolution(hidden, sizes["outputs"], 1, 1, [0, 0])
        self.residual = sizes["residual"]

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class Stem(nn.Module):
    """Pictures [B, 3, S, S] -> grid [B, channels, S / 32, S / 32]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        first, last = config["first"], config["last"]
        self.first = Convolution(3, first["outputs"], first["kernel"], first["stride"], first["padding"])
        self.blocks = nn.ModuleList(Bottleneck(sizes) for sizes in config["blocks"])
        self.last = Convolution(last["inputs"], last["outputs"], 1, 1, [0, 0])

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.first(x))
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.last(x))


class Attention(nn.Module):
    """What both kinds of block share: queries, keys and values side by side in `qkv`, rows in that order."""

    def __init__(self, sizes: Config) -> None:
        super().__init__()
        width, eps = sizes["width"], sizes["eps"]
        self.heads = sizes["heads"]
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, sizes["mlp_width"]), nn.Linear(sizes["mlp_width"], width)

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: [B, L, width]; mask: [B, 1, 1, L], true where a token may be seen."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))

    def hidden(self, x: Tensor) -> Tensor:
        return self.proj(F.gelu(self.fc(x)))


class PreNormBlock(Attention):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.ln_1(x), None)
        return x + self.hidden(self.ln_2(x))


class PostNormBlock(Attention):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.ln_1(x + self.attend(x, mask))
        return self.ln_2(x + self.hidden(x))


class ImageTower(nn.Module):
    """Pictures [B, 3, S, S], values (0..255 - 127) / 128 -> unit-length features [B, embed_dim]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, cells = config["width"], (config["size"] // config["stem"]["reduction"]) ** 2
        self.stem = Stem(config["stem"])
        self.grid = nn.Linear(config["stem"]["last"]["outputs"], width)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + cells, width))
        self.blocks = nn.ModuleList(PreNormBlock(config) for _ in range(config["layers"]))

    def tokens(self, grid: Tensor) -> Tensor:
        """The stem's output [B, channels, H, W] -> grid tokens without positions [B, H W, width], row by row."""
        return self.grid(grid.flatten(2).transpose(1, 2))

    def read(self, tokens: Tensor) -> Tensor:
        """Grid tokens -> features. A visual prompt's tokens would enter behind the class token, at any block."""
        first = tokens.mean(1, keepdim=True) + self.class_embedding
        x = torch.cat([first, tokens], 1) + self.positional_embedding
        for block in self.blocks:
            x = block(x)
        return F.normalize(x[:, 0].float(), dim=-1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.read(self.tokens(self.stem(pictures)))


class TextTower(nn.Module):
    """Token ids [N, L] and a mask [N, L], true where there is a token -> unit-length features [N, embed_dim]."""

    def __init__(self, config: Config, embed_dim: int) -> None:
        super().__init__()
        width = config["width"]
        self.token_embedding = nn.Embedding(config["vocabulary"], width)
        self.positional_embedding = nn.Parameter(torch.zeros(config["context_length"], width))
        self.ln_embedding = nn.LayerNorm(width, config["eps"])
        self.blocks = nn.ModuleList(PostNormBlock(config) for _ in range(config["layers"]))
        hidden = config.get(
            "hidden"
        )  # neurons of the layer between sentence and joint space; none: linear alone
        self.hidden = nn.Linear(width, hidden) if hidden else None
        self.projection = nn.Linear(hidden or width, embed_dim)

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Mean of the last states over the tokens, [CLS] and [SEP] included: [N, width]."""
        x = self.ln_embedding(self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]])
        for block in self.blocks:
            x = block(x, mask[:, None, None, :])
        weight = mask[..., None].float()
        return (x.float() * weight).sum(1) / weight.sum(1)

    def joint(self, sentence: Tensor) -> Tensor:
        """Mean of the states [N, width] -> unit-length features. The hidden layer measures nearness to known texts."""
        if self.hidden is not None:
            sentence = self.hidden(F.normalize(sentence, dim=-1)).exp()
        return F.normalize(self.projection(sentence).float(), dim=-1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.joint(self.pooled(ids, mask))
