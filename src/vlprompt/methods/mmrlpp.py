"""MMRL++: MMRL with shared maps that differ by small matrices, and tokens that keep part of what they became.

    W_i = W + A_i B_i                  of listed block i; one W for each tower
    later blocks:                      beta (W_i R + b_i) + (1 - beta) what the block before left there
    P = projection of the tower + A B

The rest is MMRL's.

Source: Guo and Gu, "MMRL++: Parameter-Efficient and Interaction-Aware Representation Learning for Vision-Language
Models", IJCV 2026, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vlprompt.backbones.towers.transformer import wide
from vlprompt.errors import OptionError
from vlprompt.methods import mmrl
from vlprompt.methods.base import Facts, Method, Recipe
from vlprompt.methods.published import PublishedShapes
from vlprompt.options import option

FACTS = Facts(
    title="MMRL++",
    paper="Guo and Gu, IJCV 2026",
    link="https://arxiv.org/abs/2505.10088",
    order=134,
    needs={"pixels", "features"},
    per_step="both towers",
    recipe=Recipe(epochs=10, batch=4, lr=0.001, optimizer="adamw"),
    prompts_hold_names=False,
    independent_classes=False,
    says_template=True,
    plain_words="hints deep inside both models, with fewer numbers",
    slow=True,
    published_marks=("representation_learner.srra_r2tproj.weight",),
    colour="#44AA99",
    marker="d",
)


@dataclass(frozen=True)
class Options(mmrl.Options):
    beta: float = option(
        0.9, "share of the tokens at the later blocks; the authors tuned it for each data set", low=0, high=1
    )
    residual_rank: int = option(4, "rank of A_i B_i, by which the maps of a tower differ", low=1)
    projection_rank: int = option(64, "rank of A B, by which P differs from the tower's projection", low=1)


class SharedMaps(nn.Module):
    """Maps m -> width for some blocks: one weight, and for each block A_i B_i and a bias of its own."""

    def __init__(self, method: Method, inputs: int, outputs: int, count: int, rank: int) -> None:
        super().__init__()
        first = method.linear(inputs, outputs)
        self.weight = first.weight
        self.left = nn.ParameterList(uniform(method, outputs, rank) for _ in range(count))
        self.right = nn.ParameterList(
            torch.zeros(rank, inputs, device=method.backbone.device) for _ in range(count)
        )
        self.bias = nn.ParameterList(first.bias.detach().clone() for _ in range(count))

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """[n, m] -> for each block [n, width]."""
        shared = tokens @ self.weight.t()
        parts = zip(self.left, self.right, self.bias, strict=True)
        return [shared + (tokens @ b.t()) @ a.t() + bias for a, b, bias in parts]

    def published_names(self, theirs: str, ours: str) -> dict[str, str]:
        names = {f"{theirs}.weight": f"{ours}.weight"}
        for i in range(len(self.left)):
            for part, own in (("A", "left"), ("B", "right"), ("bias", "bias")):
                names[f"{theirs}.srra.{i}.{part}"] = f"{ours}.{own}.{i}"
        return names


def uniform(method: Method, rows: int, columns: int) -> nn.Parameter:
    """Drawn as torch draws a linear layer's weight of that shape: uniform in +-1 / sqrt(columns)."""
    value = torch.empty(rows, columns).uniform_(-1, 1, generator=method.generator) * columns**-0.5
    return nn.Parameter(value.to(method.backbone.device))


class MMRLpp(mmrl.MMRL):
    Options = Options
    facts = FACTS

    def make_maps(self) -> None:
        opts, backbone = self.options, self.backbone
        frozen = backbone.vit.projection
        if frozen is None:
            raise OptionError(
                f'the image tower of "{backbone.name}" has no projection that MMRL++ could add to: use mmrl'
            )
        rank = opts.residual_rank
        self.to_text = SharedMaps(self, opts.width, backbone.text_width, len(self.text_blocks), rank)
        self.to_image = SharedMaps(self, opts.width, backbone.image_width, len(self.image_blocks), rank)
        self.left = uniform(self, backbone.image_width, opts.projection_rank)
        self.right = nn.Parameter(
            torch.zeros(opts.projection_rank, backbone.embed_dim, device=backbone.device)
        )
        self.share = opts.beta

    def text_tokens(self) -> list[Tensor]:
        return self.to_text(self.tokens)

    def image_tokens(self) -> list[Tensor]:
        return self.to_image(self.tokens)

    def read_out(self) -> Tensor:
        frozen: Any = self.backbone.vit.projection
        return wide(frozen) + self.left @ self.right

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        ranks = {
            "residual_rank": shapes.shape("representation_learner.srra_r2tproj.srra.0.A", (2,))[1],
            "projection_rank": shapes.shape("image_encoder.A", (2,))[1],
        }
        return super().published_options(shapes, wrapped) | ranks

    def published_names(self) -> dict[str, str]:
        where = "representation_learner"
        names = {f"{where}.compound_rep_tokens": "tokens"}
        names |= {"image_encoder.A": "left", "image_encoder.B": "right"}
        names |= self.to_text.published_names(f"{where}.srra_r2tproj", "to_text")
        return names | self.to_image.published_names(f"{where}.srra_r2vproj", "to_image")


METHOD = MMRLpp
