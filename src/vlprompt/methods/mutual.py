"""CTP and TFT, the two parts of task-oriented mutual learning: each side looks at the other.

    class-aware text prompt     delta_c(x) = W_o MultiHead(q = W_q u_c, k = W_k H(x), v = W_v H(x))
                                v_i(x, c) = v_i + delta_c(x)
    text-guided feature tuning  f'(x) = normalise(f(x) + MultiHead(q = f(x), k = g, v = g))
    loss                        cross entropy over classes + weight * contrast over the batch

u_c: frozen text feature of the bare name; H(x): patch tokens of the frozen image tower; g: the class features.

Source: Long et al., "Task-Oriented Multi-Modal Mutual Leaning for Vision-Language Models" (the title is spelled
so), ICCV 2023, arXiv 2303.17169. The authors published no code. The paper says what either part is for; heads,
widths, where the shift enters, the zero at the start and the form of the contrastive part are choices made here
(docs/methods/mutual.md lists them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.methods.base import Facts, Method, Recipe, Seen
from vlprompt.methods.facts import ALL_CLASSES
from vlprompt.options import OptionSet, option
from vlprompt.prompts.placing import Placing
from vlprompt.prompts.tokens import Output, Text
from vlprompt.prompts.words import check_names, context_start, template_prompt

FACTS = {
    "ctp": Facts(
        title="CTP",
        paper="Long et al., ICCV 2023 (our reading; no code was published)",
        link="https://arxiv.org/abs/2303.17169",
        order=110,
        needs={"features", "patches"},
        per_step="text tower over all classes, once per picture",
        recipe=Recipe(epochs=10, batch=4, lr=0.002),  # chosen here, after CoCoOp
        per_image_text=True,
        zero_shot_start=True,
        code_published=False,
        plain_words="words that follow picture and class",
        slow=True,
        colour="#D98CB8",
        marker="v",
    ),
    "tft": Facts(
        title="TFT",
        paper="Long et al., ICCV 2023 (our reading; no code was published)",
        link="https://arxiv.org/abs/2303.17169",
        order=120,
        recipe=Recipe(epochs=10, batch=4, lr=0.002),
        independent_classes=False,  # it looks at all class features
        no_map="TFT looks from the picture's feature at the class names, not at places in the picture, so there is no map of it.",
        zero_shot_start=True,
        code_published=False,
        plain_words="the picture's features, guided by the names",
        colour="#7D2C5C",
        marker="H",
    ),
    "ctp+tft": Facts(
        title="CTP + TFT",
        paper="Long et al., ICCV 2023 (our reading; no code was published)",
        link="https://arxiv.org/abs/2303.17169",
        order=130,
        needs={"features", "patches"},
        per_step="text tower over all classes, once per picture",
        recipe=Recipe(epochs=10, batch=4, lr=0.002),
        per_image_text=True,
        independent_classes=False,
        zero_shot_start=True,
        code_published=False,
        plain_words="words that follow picture and class, and the picture's features, guided by the names",
        slow=True,
        colour="#B8588F",
        marker="D",
    ),
}


@dataclass(frozen=True)
class Options(OptionSet):
    context_tokens: int = option(4, "learned tokens; without effect if context_init is given", low=1, high=64)
    context_init: str = option("a photo of a", "words whose embeddings start the context")
    placement: str = option(
        "context",
        "where CTP's shift enters: the context (a text pass per picture and class) or the text feature "
        "(one pass per class)",
        choices=("context", "feature"),
    )
    heads: int = option(4, "heads of each attention", low=1, high=64)
    bottleneck: int = option(4, "the attentions are so many times narrower than the features", low=1)
    contrastive_weight: float = option(
        0.1, "weight of the contrast over the batch; 0: cross entropy alone", low=0
    )


class CrossAttention(nn.Module):
    """Multi-head attention over unit-length features, [..., Q, d] looking at [..., N, d] -> [..., Q, width].

    The output layer starts at zero. Queries and keys are scaled by sqrt(d), so that attention
    differs from query to query from the start; unit-length vectors alone would give it nearly flat.
    """

    def __init__(self, method: Method, width: int, heads: int, bottleneck: int) -> None:
        super().__init__()
        d = method.backbone.embed_dim
        hidden = heads * max(1, d // (bottleneck * heads))
        self.heads, self.scale = heads, d**0.5
        self.query, self.key, self.value = (method.linear(d, hidden) for _ in range(3))
        self.out = method.linear(hidden, width)
        with torch.no_grad():
            self.out.weight.zero_()
            self.out.bias.zero_()

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Leading dimensions broadcast."""
        q, k, v = self.query(queries * self.scale), self.key(tokens * self.scale), self.value(tokens)
        lead = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        q, k, v = (self._split(part.expand(*lead, -1, -1)).flatten(0, -4) for part in (q, k, v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)).unflatten(
            0, lead
        )

    def weights(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """How much each query looks at each token, mean over the heads: [..., Q, N], rows sum to 1."""
        q, k = self._split(self.query(queries * self.scale)), self._split(self.key(tokens * self.scale))
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=-3)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)


class CTPTFT(Method):
    """Both parts; CTP and TFT alone are the same with one of them switched off."""

    Options = Options
    facts = FACTS["ctp+tft"]
    class_aware: ClassVar[bool] = True  # CTP
    text_guided: ClassVar[bool] = True  # TFT

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts, backbone = self.options, self.backbone
        names = check_names(self.task.class_names)
        template, n, start = context_start(backbone, opts.context_init, opts.context_tokens)
        self.context = self.normal(n, backbone.text_width) if start is None else nn.Parameter(start)
        in_context = opts.placement == "context"
        if self.class_aware:
            width = backbone.text_width if in_context else backbone.embed_dim
            self.prompter = CrossAttention(self, width, opts.heads, opts.bottleneck)
            _ = backbone.patches  # BackboneError where there are none
        if self.text_guided:
            self.tuner = CrossAttention(self, backbone.embed_dim, opts.heads, opts.bottleneck)
        self._placing = Placing(template_prompt(backbone, names, template, prefix_length=1), n)

    @classmethod
    def facts_of(cls, options: Any) -> Facts:
        if not cls.class_aware or options.placement == "context":
            return cls.facts
        return replace(cls.facts, per_image_text=False, per_step=ALL_CLASSES, slow=False)

    # -- text: CTP -------------------------------------------------------------------------------

    def shift(self, patches: Tensor) -> Tensor:
        """delta_c(x), [B, C, text width] (or [B, C, d] for the text feature). patches: [B, N, d].

        The queries are u_c: frozen features of the names in the template.
        """
        return self.prompter(self.frozen_text()[None], patches)

    @torch.no_grad()
    def patch_weights(self, patches: Tensor) -> Tensor | None:
        """How much the prompt of each class looks at each patch of a picture: [B, N, d] -> [B, C, N], sums of 1."""
        if not self.class_aware:
            return None
        return self.prompter.weights(self.frozen_text()[None], patches)

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        """Rows are the pairs of picture and class, pictures outermost, if the shift enters the context."""
        if not self.facts.per_image_text:
            return [self._placing.shared(self.context)]
        assert seen is not None and seen.patches is not None
        return [self._placing.rows(self.context + self.shift(seen.patches).flatten(0, 1)[:, None])]

    # -- both sides ------------------------------------------------------------------------------

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        """TFT, and the logits. The text is [C, d] where all pictures share it, else [B, C, d]."""
        (text,) = features  # [1 or B, C, d]
        if self.class_aware and not self.facts.per_image_text:
            assert seen.patches is not None
            text = F.normalize(text + self.shift(seen.patches), dim=-1)
        image = seen.features.unflatten(
            0, (text.shape[0], -1)
        )  # [1, B, d] where they share it, else [B, 1, d]
        if self.text_guided:
            image = F.normalize(image + self.tuner(image, text), dim=-1)
        logits = self.backbone.scaled(image @ text.transpose(-1, -2)).flatten(0, 1)
        return Output(logits, image.flatten(0, 1), text if self.class_aware else text[0])

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        terms = super().loss(output, labels)
        if self.options.contrastive_weight:
            terms["contrastive"] = self.contrast(output, labels)
        return terms

    def contrast(self, output: Output, labels: Tensor) -> Tensor:
        """Each picture's own class text has to find the pictures of its class in the batch."""
        rows = torch.arange(len(labels), device=labels.device)
        own = output.text[rows, labels] if output.text.dim() == 3 else output.text[labels]
        same = (labels[:, None] == labels[None]).float()
        found = (self.backbone.logit_scale * own @ output.image.t()).log_softmax(dim=-1)
        return -(same / same.sum(dim=1, keepdim=True) * found).sum(dim=1).mean()

    def loss_weights(self) -> dict[str, float]:
        return {"contrastive": self.options.contrastive_weight}


class CTP(CTPTFT):
    facts = FACTS["ctp"]
    text_guided = False


class TFT(CTPTFT):
    facts = FACTS["tft"]
    class_aware = False


METHODS = {"ctp": CTP, "tft": TFT, "ctp+tft": CTPTFT}
METHOD = CTPTFT
