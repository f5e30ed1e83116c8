"""IVLP: independent prompts in both towers, deep on either side.

Source: the baseline of Khattak et al., "MaPLe: Multi-modal Prompt Learning", CVPR 2023, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from vlprompt.methods.base import Batch, Facts, Method, Recipe, Seen
from vlprompt.methods.facts import ALL_CLASSES
from vlprompt.methods.published import CONTEXT, TEXT_DEEP, VISUAL, PublishedShapes
from vlprompt.methods.vpt import VisualTokens
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import Text, TextPrompt
from vlprompt.prompts.words import check_names, placeholder_template, spaced, template_prompt, word_embeddings

FACTS = Facts(
    title="IVLP",
    paper="Khattak et al., CVPR 2023 (baseline)",
    link="https://arxiv.org/abs/2210.03117",
    order=90,
    needs={"pixels"},
    per_step="both towers",
    recipe=Recipe(epochs=5, batch=4, lr=0.0035),
    plain_words="hints for words and pictures",
    slow=True,
    colour="#A05195",
    marker=">",
    published_marks=("prompt_learner.ctx", "*_encoder.*VPT*"),
)
WORDS_LIMIT = 4  # the published code takes initial words for at most so many tokens


@dataclass(frozen=True)
class Options(OptionSet):
    context_tokens: int = option(2, "learned text tokens", low=1, high=64)
    context_init: str = option("a photo of a", "words that start the context if context_tokens is at most 4")
    text_depth: int = option(12, "text blocks that get tokens of their own; more than there are: all", low=1)
    image_tokens: int = option(2, "learned tokens beside the patches", low=1, high=200)
    image_depth: int = option(12, "image blocks that get tokens of their own; 0: no visual prompts", low=0)


class TextTokens(nn.Module):
    """Learned text prompts: `context` at the input, `deep` for blocks 2..depth, behind [SOS].

    If initial words are used, the learned tokens replace the first of their tokens and the rest
    stay as fixed embeddings between context and name, as in the published code.
    always: use the words for any number of tokens, even if that writes over the name (as the
    published LAMM on MaPLe does).
    """

    def __init__(self, method: Method, tokens: int, words: str, depth: int, always: bool = False) -> None:
        super().__init__()
        backbone = method.backbone
        names = check_names(method.task.class_names)
        words = spaced(words).strip()
        fits = bool(words) and tokens <= min(WORDS_LIMIT, backbone.tokenizer.count(words))
        if fits or (words and always):
            self.context = nn.Parameter(word_embeddings(backbone, words, tokens).clone())
            self._frozen = template_prompt(
                backbone, names, f"{words} {{}}.", prefix_length=None if fits else 1 + tokens
            )
        else:
            self.context = method.normal(tokens, backbone.text_width)
            self._frozen = template_prompt(backbone, names, placeholder_template(tokens))
        self.deep = nn.ParameterList(method.normal(tokens, backbone.text_width) for _ in range(depth - 1))

    def prompt(self) -> TextPrompt:
        placed = self._frozen.with_context(self.context, instead=len(self.context))
        return replace(placed, deep=list(self.deep))


class IVLP(Method):
    Options = Options
    facts = FACTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts = self.options
        self.words = TextTokens(
            self, opts.context_tokens, opts.context_init, min(opts.text_depth, self.backbone.text_layers)
        )
        self.visual = None
        if opts.image_depth:
            self.visual = VisualTokens(self, opts.image_tokens, opts.image_depth)

    @classmethod
    def facts_of(cls, options: Any) -> Facts:
        if options.image_depth:
            return cls.facts
        return replace(cls.facts, needs=frozenset({"features"}), per_step=ALL_CLASSES, slow=False)

    def see(self, batch: Batch) -> Seen:
        return super().see(batch) if self.visual is None else self.visual.see(self, batch)

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return [self.words.prompt()]

    def learned_context(self) -> Tensor | None:
        return self.words.context.detach()

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        visual = VisualTokens.published_options(shapes) if VISUAL in shapes else {"image_depth": 0}
        return {
            "context_tokens": shapes.shape(CONTEXT, (2,))[0],
            "text_depth": 1 + shapes.count(TEXT_DEEP, 1),
            **visual,
        }

    def published_names(self) -> dict[str, str]:
        names = {"prompt_learner.ctx": "words.context"}
        for i in range(len(self.words.deep)):
            names[f"text_encoder.transformer.resblocks.{i + 1}.VPT_shallow"] = f"words.deep.{i}"
        if self.visual is not None:
            names |= self.visual.published_names("visual")
        return names


METHOD = IVLP
