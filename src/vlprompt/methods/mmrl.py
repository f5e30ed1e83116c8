"""MMRL: tokens of a space of their own, mapped into the upper blocks of both towers.

    R [n, m];   before block i of the listed ones: W^t_i R + b^t_i behind [SOS], W^v_i R + b^v_i behind [CLS]
    f: feature at the class token;  g: mean of the new tokens' last states, times P;  w_c: text feature of class c
    L = alpha CE(100 f w) + (1 - alpha) CE(100 g w) + lambda (1 - cos(f, f0)) + lambda (1 - mean_c cos(w_c, w0_c))

The tokens are inserted before the first of these blocks and overwrite those there before the later ones. f0, w0:
frozen features of the same view and of the same template.

Source: Guo and Gu, "MMRL: Multi-Modal Representation Learning for Vision-Language Models", CVPR 2025, section 3. Which of
three sets of logits answers is an option; the published code decides by the name of the split.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch, Facts, Method, Recipe, Seen
from vlprompt.methods.kgcoop import with_teacher
from vlprompt.methods.published import PublishedShapes
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import BlockTokens, FrozenText, ImagePrompt, Output, Text
from vlprompt.prompts.words import check_names, template_prompt

FACTS = Facts(
    title="MMRL",
    paper="Guo and Gu, CVPR 2025",
    link="https://arxiv.org/abs/2503.08497",
    order=132,
    needs={"pixels", "features"},
    per_step="both towers",
    recipe=Recipe(epochs=10, batch=4, lr=0.001, optimizer="adamw"),
    prompts_hold_names=False,
    independent_classes=False,  # which output answers depends on whether all names were learned
    says_template=True,
    plain_words="hints deep inside both models",
    slow=True,
    published_marks=("representation_learner.compound_rep_tokens_r2tproj.0.weight",),
    colour="#117733",
    marker="h",
)
SCALE = 100.0  # of the logits, whatever the backbone's own is
TOKENS = "representation_learner.compound_rep_tokens"  # in the published code
ANSWERS = ("published", "fusion", "class_token", "tokens")


@dataclass(frozen=True)
class Options(OptionSet):
    tokens: int = option(5, "n: tokens in the space that belongs to neither tower", low=1, high=64)
    width: int = option(512, "m: numbers of each token", low=1)
    blocks: str = option(
        "",
        'blocks before which they enter, counted from 1, such as "6-12" or "6,8,10"; none: the upper half of each '
        "tower; those beyond a tower's last are left out",
    )
    alpha: float = option(
        0.7, "weight of the class token's loss, and of its logits in the mean", low=0, high=1
    )
    regularisation: float = option(
        0.5,
        "lambda: weight of staying near the frozen features; the authors tuned it for each data set",
        low=0,
    )
    answer: str = option(
        "published",
        "which logits answer: the mean of both (fusion), those of the class_token, those of the tokens; published: the "
        "mean if all names were learned, the class token's if one is new",
        choices=ANSWERS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        block_numbers(self.blocks, 1 << 20)


def block_numbers(text: str, layers: int, tower: str = "tower") -> list[int]:
    """Indices from 0 of the blocks that a text such as "6-12" or "1,3" names, of a tower of so many; "": the upper half."""
    if not text.strip():
        return list(range((layers - 1) // 2, layers))
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise OptionError(f'blocks is "{text}": expected numbers from 1 on, such as "6-12" or "6,8,10"')
        found.update(range(first - 1, min(last, layers)))
    chosen = sorted(i for i in found if i < layers)
    if not chosen:
        raise OptionError(f'blocks is "{text}", but the {tower} has only {layers}')
    return chosen


class MMRL(Method):
    """`extra` holds the logits of all three outputs ("class_token_logits", "token_logits", "fusion_logits") and the tokens'
    feature ("image_rep", [B, d]); in training also frozen features ("teacher_text" [C, d], "teacher_image" [B, d])."""

    Options = Options
    facts = FACTS
    to_text: Any  # maps from the tokens to each block's width
    to_image: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts, backbone = self.options, self.backbone
        names = check_names(self.task.class_names)
        self.learned_names = frozenset(names)
        self._text = replace(template_prompt(backbone, names, self.task.templates[0]), label_counts=())
        self.text_blocks = block_numbers(opts.blocks, backbone.text_layers, "text tower")
        self.image_blocks = block_numbers(opts.blocks, backbone.image_layers, "image tower")
        self.tokens = self.normal(opts.tokens, opts.width)
        self.make_maps()

    def make_maps(self) -> None:
        """Learned maps from the tokens' space into the towers, all of a side alike at first, and into the joint space."""
        backbone, width = self.backbone, self.options.width
        self.to_text = self._alike(width, backbone.text_width, len(self.text_blocks))
        self.to_image = self._alike(width, backbone.image_width, len(self.image_blocks))
        wide = backbone.image_width
        self.projection = self.normal(wide, backbone.embed_dim, std=wide**-0.5)

    def _alike(self, inputs: int, outputs: int, count: int) -> nn.ModuleList:
        first = self.linear(inputs, outputs)
        layers = [first]
        for _ in range(count - 1):
            layer = nn.Linear(inputs, outputs, device=self.backbone.device)
            layer.load_state_dict(first.state_dict())
            layers.append(layer)
        return nn.ModuleList(layers)

    # -- what enters the towers ------------------------------------------------------------------

    def text_tokens(self) -> list[Tensor]:
        """What enters before each of the text blocks, [n, text width]."""
        return [layer(self.tokens) for layer in self.to_text]

    def image_tokens(self) -> list[Tensor]:
        """What enters before each of the image blocks, [n, image width]."""
        return [layer(self.tokens) for layer in self.to_image]

    def read_out(self) -> Tensor:
        """P, [image width, d]."""
        return self.projection

    share: float = 1.0  # of the tokens where they overwrite

    def _entering(self, values: Sequence[Tensor], blocks: Sequence[int]) -> list[BlockTokens]:
        first = BlockTokens(values[0], blocks[0], insert=True)
        later = zip(values[1:], blocks[1:], strict=True)
        return [first, *(BlockTokens(value, block, weight=self.share) for value, block in later)]

    # -- the three parts of the forward pass -----------------------------------------------------

    def see(self, batch: Batch) -> Seen:
        assert batch.pixels is not None
        prompt = ImagePrompt(inner=self._entering(self.image_tokens(), self.image_blocks))
        features, states = self.interpreter.image_and_inserted(batch.pixels, prompt)
        own = F.normalize(states.mean(dim=1) @ self.read_out(), dim=-1)
        extra = {"image_rep": own}
        if self.training:
            extra["teacher_image"] = self.frozen_features(batch)
        return Seen(features, extra=extra)

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        prompt = replace(self._text, inner=self._entering(self.text_tokens(), self.text_blocks))
        if not self.training:
            return [prompt]
        return [prompt, FrozenText(self.task.class_names, self.task.templates[:1])]

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        text, alpha = features[0][0], self.options.alpha
        of_class = SCALE * seen.features @ text.t()
        of_tokens = SCALE * seen.extra["image_rep"] @ text.t()
        fusion = alpha * of_class + (1 - alpha) * of_tokens
        logits = {"fusion": fusion, "class_token": of_class, "tokens": of_tokens}[self.answer()]
        extra = {"class_token_logits": of_class, "token_logits": of_tokens, "fusion_logits": fusion}
        return with_teacher(Output(logits, seen.features, text, extra | seen.extra), features[1:])

    def answer(self) -> str:
        """Which of the three outputs the logits are."""
        if self.options.answer != "published":
            return self.options.answer
        return "fusion" if self.learned_names.issuperset(self.task.class_names) else "class_token"

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        extra = output.extra
        terms = {
            "ce": F.cross_entropy(extra["class_token_logits"], labels),
            "ce_rep": F.cross_entropy(extra["token_logits"], labels),
        }
        if "teacher_text" in extra:
            terms["image"] = 1 - (output.image * extra["teacher_image"]).sum(dim=-1).mean()
            terms["text"] = 1 - (output.text * extra["teacher_text"]).sum(dim=-1).mean()
        return terms

    def loss_weights(self) -> dict[str, float]:
        alpha, weight = self.options.alpha, self.options.regularisation
        return {"ce": alpha, "ce_rep": 1 - alpha, "image": weight, "text": weight}

    def for_classes(self, names: Sequence[str]) -> Method:
        """It remembers which names were learned, by which the published rule decides what answers."""
        other = super().for_classes(names)
        assert isinstance(other, MMRL)
        other.learned_names = self.learned_names
        return other

    def extend(self, names: Sequence[str]) -> Method:
        """The new classes go on to be learned, and so count as the others do."""
        other = super().extend(names)
        assert isinstance(other, MMRL)
        other.learned_names = frozenset(other.task.class_names)
        return other

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        tokens, width = shapes.shape(TOKENS, (2,))
        return {"tokens": tokens, "width": width}

    def published_names(self) -> dict[str, str]:
        where = TOKENS
        names = {where: "tokens", "image_encoder.proj_rep": "projection"}
        for theirs, ours, maps in (
            ("r2tproj", "to_text", self.to_text),
            ("r2vproj", "to_image", self.to_image),
        ):
            for i in range(len(maps)):
                for part in ("weight", "bias"):
                    names[f"{where}_{theirs}.{i}.{part}"] = f"{ours}.{i}.{part}"
        return names


METHOD = MMRL
