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

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.methods.base import Batch, Edit, Method, Needs, Recipe
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.options import OptionSet, option
from vlprompt.prompts.placing import Placing
from vlprompt.prompts.tokens import Output, Prompts
from vlprompt.prompts.words import check_names, context_start, template_prompt


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
    title = "CTP + TFT"
    paper = "Long et al., ICCV 2023 (our reading; no code was published)"
    needs: Needs = "patches"
    recipe = Recipe(epochs=10, batch=4, lr=0.002)  # chosen here, after CoCoOp
    zero_shot_start = True
    per_step = "text tower over all classes, once per picture"
    class_aware: ClassVar[bool] = True  # CTP
    text_guided: ClassVar[bool] = True  # TFT
    independent_classes = False  # TFT looks at all class features

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
        self.per_image_text = self.class_aware and in_context  # type: ignore[misc]
        self._placing = Placing(template_prompt(backbone, names, template, prefix_length=1), n)
        self._labels: Tensor | None = None

    # -- text: CTP -------------------------------------------------------------------------------

    def label_features(self) -> Tensor:
        """u_c: frozen features of the names in the template, [C, d]."""
        if self._labels is None:
            self._labels = ZeroShot(self.backbone, self.task).text_features()
        return self._labels

    def shift(self, patches: Tensor) -> Tensor:
        """delta_c(x), [B, C, text width] (or [B, C, d] for the text feature). patches: [B, N, d]."""
        return self.prompter(self.label_features()[None], patches)

    @torch.no_grad()
    def looked_at(self, patches: Tensor) -> Tensor:
        """How much the prompt of each class looks at each patch of a picture: [B, N, d] -> [B, C, N], sums of 1."""
        return self.prompter.weights(self.label_features()[None], patches)

    def prompts(self, image_features: Tensor | None = None, patches: Tensor | None = None) -> Prompts:
        """Rows are the pairs of picture and class, pictures outermost, if the shift enters the context.

        Without patches the picture's feature stands for them.
        """
        if not self.per_image_text:
            return Prompts(self._placing.shared(self.context))
        if patches is None:
            assert image_features is not None
            patches = image_features[:, None]
        return Prompts(self._placing.rows(self.context + self.shift(patches).flatten(0, 1)[:, None]))

    # -- both sides ------------------------------------------------------------------------------

    def forward(self, batch: Batch, edit: Edit | None = None) -> Output:
        image, patches = self._seen(batch)
        prompt = self.prompts(image, patches).text
        features = self.interpreter.text(prompt if edit is None else edit(prompt))[0]
        classes = len(self.task.class_names)
        pictures = image.shape[0] if self.per_image_text else 1
        text = features.unflatten(0, (-1, pictures, classes))  # [rows added by edit, 1 or B, C, d]
        if self.class_aware and not self.per_image_text:
            assert patches is not None
            text = F.normalize(text + self.shift(patches), dim=-1)
        return self._compared(image, text)

    def combine(self, batch: Batch, text: Tensor) -> Output:
        """What `forward` makes of text features that were computed apart, [C, d] or [B, C, d]."""
        return self._compared(self._seen(batch)[0], text[None, None] if text.dim() == 2 else text[None])

    def _compared(self, image: Tensor, text: Tensor) -> Output:
        """TFT, and the logits. image: [B, d]; text: [rows added by edit, 1 or B, C, d]."""
        pictures = text.shape[1]
        seen = image.unflatten(
            0, (pictures, -1)
        )  # [1, B, d] where all pictures share the text, else [B, 1, d]
        if self.text_guided:
            seen = F.normalize(seen + self.tuner(seen, text), dim=-1)  # [rows added by edit, .., .., d]
        else:
            seen = seen.expand(len(text), -1, -1, -1)
        logits = self.backbone.logit_scale * (seen @ text.transpose(-1, -2)).flatten(1, 2)  # [.., B, C]
        texts = _beside(text) if self.class_aware else text.flatten(0, 2)
        return Output(_beside(logits), seen[0].flatten(0, 1), texts)

    def _seen(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Features [B, d] and patch tokens [B, N, d] of the frozen tower."""
        image, patches = batch.features, batch.patches
        if image is None or (self.class_aware and patches is None):
            if not self.class_aware:
                return self.frozen_features(batch), None
            assert batch.pixels is not None
            with torch.no_grad():
                image, patches = self.backbone.patch_features(batch.pixels)
        return image, patches

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
    title = "CTP"
    text_guided = False
    independent_classes = True


class TFT(CTPTFT):
    title = "TFT"
    needs: Needs = "features"
    per_step = "text tower over all classes"
    class_aware = False


def _beside(parts: Tensor) -> Tensor:
    """[k, B, C, ...] -> [B, k C, ...]: rows that were added become further columns."""
    return parts.transpose(0, 1).flatten(1, 2)


METHODS = {"ctp": CTP, "tft": TFT, "ctp+tft": CTPTFT}
METHOD = CTPTFT
