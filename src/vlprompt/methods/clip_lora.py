"""CLIP-LoRA: no prompts, but changes of rank r in the attention matrices of both towers.

    W x + b  ->  W x + b + alpha / sqrt(r) B A dropout(x)         A [r, width], B [width, r], B = 0 at first
    L = CE(100 f w)

Source: Zanella and Ben Ayed, "Low-Rank Few-Shot Adaptation of Vision-Language Models", CVPR Workshops 2024, section 3;
Hu et al., "LoRA", ICLR 2022. With dropout 0 the published code loses a part of the gradient (docs/methods/clip_lora.md);
here it is whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vlprompt.backbones.towers.changes import MatrixChange
from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch, Facts, Method, Recipe, Seen
from vlprompt.methods.facts import ALL_CLASSES
from vlprompt.methods.mmrl import block_numbers
from vlprompt.methods.published import PublishedShapes
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import ImagePrompt, Output, Text
from vlprompt.prompts.words import check_names, template_prompt
from vlprompt.seeds import generator

FACTS = Facts(
    title="CLIP-LoRA",
    paper="Zanella and Ben Ayed, CVPR Workshops 2024",
    link="https://arxiv.org/abs/2405.18541",
    order=136,
    needs={"pixels"},
    per_step="both towers",
    recipe=Recipe(
        epochs=50,
        batch=32,
        lr=0.0002,
        optimizer="adamw",
        weight_decay=0.01,
        warmup_epochs=0,
        schedule="step",
        final_lr=1e-6,
    ),
    prompts_hold_names=False,
    plain_words="small changes inside both models",
    slow=True,
    published_marks=("*transformer.resblocks.*.attn.*.w_lora_A",),
    colour="#CC6677",
    marker="8",
)
SCALE = 100.0  # of the logits, whatever the backbone's own is
DRAWN_AT_ONCE = 1 << 20  # numbers of a float each, of which one bit is kept
LAYERS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "proj"}  # in the published code
PUBLISHED = re.compile(
    r"(?P<tower>visual\.)?transformer\.resblocks\.(?P<block>\d+)\.attn\.(?P<matrix>\w+)\.w_lora_A"
)
# of towers of up to twelve blocks; the same shares of deeper ones
PARTS = {
    "all": (0, 1),
    "bottom": (0, 1 / 3),
    "mid": (1 / 3, 2 / 3),
    "up": (2 / 3, 1),
    "half-bottom": (0, 1 / 2),
    "half-up": (1 / 2, 1),
}


@dataclass(frozen=True)
class Options(OptionSet):
    encoder: str = option("both", "the towers that change", choices=("both", "vision", "text"))
    matrices: str = option("qkv", "matrices of attention that change: any of q, k, v, and o for its output")
    rank: int = option(2, "r: rank of the changes", low=1, high=1024)
    alpha: float = option(1.0, "their factor, which is divided by the root of the rank", low=0)
    blocks: str = option(
        "all", 'all, bottom, mid, up, half-bottom, half-up, top3, or numbers from 1 on, such as "9-12"'
    )
    dropout: float = option(
        0.25, "share of the input that a change does not see, in training", low=0, high=0.99
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.matrices or set(self.matrices) - set("qkvo"):
            raise OptionError(
                f'matrices is "{self.matrices}": expected letters of q, k, v and o, such as "qkv"'
            )
        changed_blocks(self.blocks, 1 << 20)


def changed_blocks(text: str, layers: int) -> list[int]:
    """Indices from 0 of the blocks that change, of a tower of so many."""
    whole = max(layers, 12)
    if text == "top3":
        return [i for i in range(whole - 3, whole) if i < layers]
    if text not in PARTS:
        return block_numbers(text, layers)
    first, last = PARTS[text]
    return [i for i in range(round(first * whole), round(last * whole)) if i < layers]


class Change(nn.Module):
    """down: A, up: B."""

    def __init__(self, method: Method, width: int, rank: int) -> None:
        super().__init__()
        down = torch.empty(rank, width).uniform_(-1, 1, generator=method.generator) * width**-0.5
        self.down = nn.Parameter(down.to(method.backbone.device))
        self.up = nn.Parameter(torch.zeros(width, rank, device=method.backbone.device))


class CLIPLoRA(Method):
    Options = Options
    facts = FACTS
    drawn: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts, backbone = self.options, self.backbone
        names = check_names(self.task.class_names)
        self._text = replace(template_prompt(backbone, names, self.task.templates[0]), label_counts=())
        sizes = {
            "text": (backbone.text_layers, backbone.text_width) if opts.encoder != "vision" else (0, 0),
            "image": (backbone.image_layers, backbone.image_width) if opts.encoder != "text" else (0, 0),
        }
        for tower, (layers, width) in sizes.items():
            blocks = changed_blocks(opts.blocks, layers) if layers else []
            own = {
                str(i): nn.ModuleDict(
                    {m: Change(self, width, opts.rank) for m in dict.fromkeys(opts.matrices)}
                )
                for i in blocks
            }
            self.add_module(f"{tower}_changes", nn.ModuleDict(own))
        if not self.trainable_parameters():
            raise OptionError(
                f'blocks is "{opts.blocks}", and no tower has such blocks: nothing would be learned'
            )
        # seed of what is dropped and steps done: with both saved, an interrupted training drops the same
        seed = int(torch.randint(2**31, (1,), generator=self.generator))
        self.register_buffer("drawn", torch.tensor([seed, 0]))

    @classmethod
    def facts_of(cls, options: Any) -> Facts:
        if options.encoder != "text":
            step = "image tower over the batch" if options.encoder == "vision" else "both towers"
            return replace(cls.facts, per_step=step)
        return replace(cls.facts, needs=frozenset({"features"}), per_step=ALL_CLASSES, slow=False)

    def changes(self, tower: str, rows: int = 0, tokens: int = 0, step: int = 0) -> list[MatrixChange]:
        """Those of a tower ("text" or "image"); in training each sees a part of so many rows of tokens, drawn anew."""
        factor = self.options.alpha / self.options.rank**0.5
        found = []
        for i, matrices in getattr(self, f"{tower}_changes").items():
            for matrix, change in matrices.items():
                kept = None
                if self.training and self.options.dropout:
                    kept = self.draw(
                        f"{tower}_changes.{i}.{matrix}", step, (rows, tokens, change.down.shape[1])
                    )
                found.append(
                    MatrixChange(
                        int(i), matrix, change.down, factor * change.up, kept, 1 - self.options.dropout
                    )
                )
        return found

    def draw(self, name: str, step: int, shape: tuple[int, int, int]) -> Tensor:
        """Which numbers of its input a change sees, [rows, tokens, width]."""
        device = self.backbone.device
        seed = generator(int(self.drawn[0]), f"dropout of {name}", step).initial_seed()
        source = torch.Generator(device).manual_seed(seed)
        kept = torch.empty(shape, dtype=torch.bool, device=device)
        for part in kept.split(max(1, DRAWN_AT_ONCE // (shape[1] * shape[2]))):
            drawn = torch.rand(part.shape, generator=source, device=device)
            torch.ge(drawn, self.options.dropout, out=part)
        return kept

    def see(self, batch: Batch) -> Seen:
        """In training it also counts the step, which nothing else asks for."""
        step = 0
        if self.training:
            step = int(self.drawn[1])
            self.drawn[1] += 1
        if self.options.encoder == "text":
            return Seen(self.frozen_features(batch), extra={"step": step})
        assert batch.pixels is not None
        rows = len(batch.pixels) if self.training else 0  # nothing is drawn otherwise
        changes = self.changes("image", rows, self.backbone.image_tokens, step)
        features = self.interpreter.image(batch.pixels, ImagePrompt(changes=changes))
        return Seen(features, extra={"step": step})

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        step = 0 if seen is None else seen.extra.get("step", 0)
        longest = self._text.prefix.shape[1] + max(self._text.lengths)
        return [replace(self._text, changes=self.changes("text", self._text.classes, longest, step))]

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        text = features[0][0]
        return Output(SCALE * seen.features @ text.t(), seen.features, text)

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        """Which towers, blocks and matrices have changes, and of which rank; no shape tells alpha."""
        found = [match for name in shapes if (match := PUBLISHED.fullmatch(name)) is not None]
        towers = {"vision" if match["tower"] else "text" for match in found}
        matrices = {match["matrix"] for match in found}
        blocks = sorted({int(match["block"]) + 1 for match in found})
        return {
            "encoder": "both" if len(towers) == 2 else towers.pop(),
            "matrices": "".join(letter for letter, name in LAYERS.items() if name in matrices),
            "blocks": ",".join(map(str, blocks)),
            "rank": shapes.shape(found[0][0], (2,))[0],
        }

    def published_names(self) -> dict[str, str]:
        names = {}
        for tower, theirs in (("text_changes", ""), ("image_changes", "visual.")):
            for i, matrices in getattr(self, tower).items():
                for matrix in matrices:
                    layer = LAYERS[matrix]
                    for part, own in (("A", "down"), ("B", "up")):
                        name = f"{theirs}transformer.resblocks.{i}.attn.{layer}.w_lora_{part}"
                        names[name] = f"{tower}.{i}.{matrix}.{own}"
        return names


METHOD = CLIPLoRA
