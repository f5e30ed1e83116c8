"""VPT: learned tokens beside the patches of the image tower; the text tower stays as it is.

    block 1: n tokens after the patches (through ln_pre, no positional embedding)
    blocks 2..J: replaced by new ones

Source: Jia et al., "Visual Prompt Tuning", ECCV 2022, section 3.2, as placed by Khattak et al., CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vlprompt.methods.base import Batch, Facts, Method, Recipe, Seen
from vlprompt.methods.published import VISUAL, VISUAL_DEEP, PublishedShapes
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import ImagePrompt, Text
from vlprompt.prompts.words import check_names, template_prompt

FACTS = Facts(
    title="VPT",
    paper="Jia et al., ECCV 2022",
    link="https://arxiv.org/abs/2203.12119",
    order=80,
    needs={"pixels"},
    per_step="image tower over the batch",
    recipe=Recipe(epochs=5, batch=4, lr=0.0025),
    plain_words="hints inside the picture's model",
    slow=True,
    colour="#7A4FA3",
    marker="<",
    published_marks=("image_encoder.*VPT*",),
)


@dataclass(frozen=True)
class Options(OptionSet):
    image_tokens: int = option(8, "learned tokens beside the patches", low=1, high=200)
    image_depth: int = option(12, "blocks that get tokens of their own; more than there are: all", low=1)


class VisualTokens(nn.Module):
    """Learned visual prompts: `tokens` for the first block, `deep` for blocks 2..depth."""

    def __init__(self, method: Method, tokens: int, depth: int) -> None:
        super().__init__()
        backbone = method.backbone
        depth, width = min(depth, backbone.image_layers), backbone.image_width
        self.tokens = method.normal(tokens, width)
        self.deep = nn.ParameterList(method.normal(tokens, width) for _ in range(depth - 1))

    def prompt(self) -> ImagePrompt:
        return ImagePrompt(self.tokens, list(self.deep))

    def see(self, method: Method, batch: Batch) -> Seen:
        """The pictures as the tower sees them with these prompts."""
        assert batch.pixels is not None
        return Seen(method.interpreter.image(batch.pixels, self.prompt()))

    @staticmethod
    def published_options(shapes: PublishedShapes) -> dict[str, Any]:
        return {
            "image_tokens": shapes.shape(VISUAL, (2,))[0],
            "image_depth": 1 + shapes.count(VISUAL_DEEP, 1),
        }

    def published_names(self, where: str) -> dict[str, str]:
        names = {"image_encoder.VPT": f"{where}.tokens"}
        for i in range(len(self.deep)):
            names[f"image_encoder.transformer.resblocks.{i + 1}.VPT_shallow"] = f"{where}.deep.{i}"
        return names


class VPT(Method):
    Options = Options
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = check_names(self.task.class_names)
        self.visual = VisualTokens(self, self.options.image_tokens, self.options.image_depth)
        self._text = template_prompt(self.backbone, names, self.task.templates[0])

    def see(self, batch: Batch) -> Seen:
        return self.visual.see(self, batch)

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return [self._text]

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        return VisualTokens.published_options(shapes)

    def published_names(self) -> dict[str, str]:
        return self.visual.published_names("visual")


METHOD = VPT
