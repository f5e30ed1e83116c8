"""LAMM: the class names themselves are learned, as label tokens, on top of any prompt.

    L = CE + lambda_1 sum_c |theta_c - thetabar_c|^2
           + lambda_2 mean_i (1 - cos(g(theta_{y_i}), gbar_{y_i}))
           + lambda_3 KD(logits, reference logits; T)

Source: Gao et al., "LAMM: Label Alignment for Multi-Modal Prompt Learning", AAAI 2024. The paper
takes gbar from the frozen zero-shot prompt; the published code recomputes it with the current
context, distils from the learner to the reference and weights the parameter term with 1.

Classes that arrive later (`extend`) get label tokens of their own; all that was learned before is frozen,
so the text features of earlier classes stay the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.methods.base import Batch, Facts, Method, Seen, set_parameter
from vlprompt.methods.published import LEARNER, PublishedShapes
from vlprompt.methods.sessions import KeptClasses, Sessions, widen
from vlprompt.methods.wrapping import Wrapper
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import FrozenText, Output, Text, TextPrompt
from vlprompt.prompts.words import check_names, name_counts, name_embeddings

FACTS = Facts(
    title="LAMM",
    paper="Gao et al., AAAI 2024",
    link="https://arxiv.org/abs/2312.08212",
    order=140,
    prompts_hold_names=False,
    zero_shot_start=True,
    wraps=True,
    published_marks=("prompt_learner.token_classes",),
    plain_words="the names themselves",
    colour="#009E73",
    marker="P",
)


@dataclass(frozen=True)
class Options(OptionSet):
    reference: str = option("paper", "what the losses compare with", choices=("paper", "published_code"))
    label_tokens: int = option(
        0,
        "learned tokens per class; 0: all of the name (published code: as many as the shortest name has)",
        low=0,
    )
    random_labels: bool = option(False, "start label tokens from random vectors instead of the names")
    parameter_loss: bool = option(True, "keep label tokens near the names' embeddings")
    feature_loss: bool = option(True, "keep text features near those of the names")
    logits_loss: bool = option(True, "keep logits near those of the names")
    parameter_weight: float = option(
        0.0,
        "weight of the loss on label tokens, the paper's lambda_1; 0: 1 / shots (published code: 1)",
        low=0,
    )
    feature_weight: float = option(1.0, "weight of the loss on text features, the paper's lambda_2", low=0)
    logits_weight: float = option(0.05, "weight of the loss on logits, the paper's lambda_3", low=0)
    temperature: float = option(2.0, "T of the distillation", low=0.01)
    distillation: str = option(
        "auto",
        "which side is the target; auto: the reference (published code: the learner)",
        choices=("auto", "from_reference", "from_learner"),
    )


class LAMM(Wrapper):
    """Wraps a method whose prompts hold class names; alone it wraps the frozen template."""

    Options = Options
    facts = FACTS
    label_reference: Tensor
    kept: KeptClasses | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        backbone, names = self.backbone, check_names(self.task.class_names)
        counts = name_counts(backbone, names)
        self._published = self.options.reference == "published_code"
        self._position = self.base.facts.published_label_position if self._published else None
        limit = self.options.label_tokens or self._default_tokens(counts)
        tokens = min(limit, max(counts))
        self._mask = torch.tensor([[j < n for j in range(tokens)] for n in counts], device=backbone.device)
        start = name_embeddings(backbone, names, tokens)
        if self.options.random_labels:
            start = self.normal(len(names), tokens, backbone.text_width).data * self._mask[..., None]
        self.label_tokens = nn.Parameter(start.clone())
        self.register_buffer("label_reference", start)
        self.kept = None  # classes of earlier sessions; label_tokens are those of the others
        self._sessions = Sessions()

    def _default_tokens(self, counts: Sequence[int]) -> int:
        if not self._published:
            return max(counts)
        return self.base.facts.published_label_tokens or min(counts)

    @classmethod
    def facts_of(cls, options: Any) -> Facts:
        return replace(cls.facts, zero_shot_start=not options.random_labels)

    # -- texts -----------------------------------------------------------------------------------

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        """Those of the wrapped method with label tokens in the names' places, session by session; in training
        behind them what the losses compare with: the names in the template, or (published code) the same texts with
        the names."""
        own: list[Text] = []
        bare: list[Text] = []
        for base, classes in self.sessions():
            bare = [self._cut(text) for text in base.texts(seen)]
            own += [self.place(text, classes) for text in bare]
        if not self._compares():
            return own
        if not self._published:
            return [*own, FrozenText(self.task.class_names, self.task.templates)]
        if self.kept is not None:
            bare = [self._cut(text) for text in self.base.texts(seen)]
        return [*own, *bare]

    def sessions(self) -> list[tuple[Method, range]]:
        """The wrapped method for the classes of each session, and where these stand; nothing in it depends on later ones."""
        if self.kept is None:
            return [(self.base, range(len(self.task.class_names)))]
        latest = range(len(self.kept), len(self.task.class_names))
        return self._sessions.of(self.base, [*self.kept.blocks(), latest])

    def _cut(self, text: Text) -> Text:
        """The text as label tokens go into it: in the published code some go behind a prefix of fixed length."""
        if self._position is None or not isinstance(text, TextPrompt) or not self._mask.any():
            return text
        return replace(text.shorten_prefix(self._position), label_start=0)

    def place(self, text: Text, classes: range | None = None) -> Text:
        """The label tokens in the name's place, row by row (rows may repeat the classes). classes: those of the rows.

        Texts that hold no names stay as they are.
        """
        if not isinstance(text, TextPrompt) or not text.holds_names:
            return text
        start, stop = text.label_start, text.label_start + self.label_tokens.shape[1]
        if text.suffix.shape[1] < stop:  # other, shorter names; what lies behind [EOT] has no influence
            text = text.with_suffix(F.pad(text.suffix, (0, 0, 0, stop - text.suffix.shape[1])))
        tokens, mask = self.labels()
        if classes is not None:
            tokens, mask = tokens[classes.start : classes.stop], mask[classes.start : classes.stop]
        repeats = text.classes // len(tokens)
        own = torch.where(
            mask[..., None].repeat(repeats, 1, 1), tokens.repeat(repeats, 1, 1), text.suffix[:, start:stop]
        )
        return text.with_suffix(torch.cat([text.suffix[:, :start], own, text.suffix[:, stop:]], dim=1))

    def labels(self) -> tuple[Tensor, Tensor]:
        """Label tokens [C, L, D] of all classes, kept ones first, and which of them there are [C, L]."""
        if self.kept is None:
            return self.label_tokens, self._mask
        return torch.cat([self.kept["tokens"], self.label_tokens]), torch.cat([self.kept["mask"], self._mask])

    # -- outputs and losses ----------------------------------------------------------------------

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        """In training, `extra` holds the reference features ("reference") and logits ("reference_logits")."""
        blocks = [classes for _, classes in self.sessions()]
        if not self._compares():
            return self.base.compare(seen, Sessions.joined(features, blocks))
        if self._published:  # as many texts with the names as each session has with label tokens
            count = len(features) // (len(blocks) + 1)
            output = self.base.compare(seen, Sessions.joined(features[:-count], blocks))
            with_names = self.base.compare(seen, features[-count:])
            reference, logits = with_names.text, with_names.logits
        else:
            output = self.base.compare(seen, Sessions.joined(features[:-1], blocks))
            reference = features[-1][0]
            logits = self.logits(output.image.detach(), reference)
        return replace(output, extra=output.extra | {"reference": reference, "reference_logits": logits})

    def _compares(self) -> bool:
        """Whether the losses need something to compare with."""
        return self.training and (self.options.feature_loss or self.options.logits_loss)

    @torch.no_grad()
    def reference_features(self, batch: Batch) -> Tensor:
        """Text features that the losses compare with, [C, d] (or [B, C, d])."""
        if not self._published:
            return self.frozen_text()
        seen = self.see(batch)
        return self.base.compare(seen, self.read([self._cut(text) for text in self.base.texts(seen)])).text

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        opts = self.options
        terms = self.base.loss(output, labels)
        if opts.parameter_loss:
            terms["parameter"] = (self.label_tokens - self.label_reference).pow(2).sum()
        if opts.feature_loss:
            terms["feature"] = self._feature_term(output, labels)
        if opts.logits_loss:
            terms["logits"] = self._logits_term(output)
        return terms

    def _feature_term(self, output: Output, labels: Tensor) -> Tensor:
        if self._published and (labels == labels[0]).all():
            return output.text.new_zeros(())
        reference = output.extra["reference"].detach()
        text = output.text
        if text.dim() == 3:  # text features per picture: each item's own
            own = text[torch.arange(len(labels)), labels]
            against = (
                reference[torch.arange(len(labels)), labels] if reference.dim() == 3 else reference[labels]
            )
        else:
            own, against = text[labels], reference[labels]
        return (1 - F.cosine_similarity(own, against, dim=-1)).mean()

    def _logits_term(self, output: Output) -> Tensor:
        t = self.options.temperature
        learner, reference = output.logits / t, output.extra["reference_logits"] / t
        if self._direction() == "from_learner":
            return t * t * -(learner.softmax(-1) * reference.log_softmax(-1)).sum(-1).mean()
        return (
            t
            * t
            * F.kl_div(
                learner.log_softmax(-1),
                reference.detach().log_softmax(-1),
                reduction="batchmean",
                log_target=True,
            )
        )

    def _direction(self) -> str:
        if self.options.distillation != "auto":
            return self.options.distillation
        return "from_learner" if self._published else "from_reference"

    def loss_weights(self) -> dict[str, float]:
        opts = self.options
        parameter = opts.parameter_weight or (1.0 if self._published else 1.0 / max(1, self.task.shots))
        return self.base.loss_weights() | {
            "parameter": parameter,
            "feature": opts.feature_weight,
            "logits": opts.logits_weight,
        }

    # -- other classes ---------------------------------------------------------------------------

    def for_classes(self, names: Sequence[str]) -> Method:
        """Names that were learned keep their label tokens; others are read as they stand."""
        other = LAMM(
            self.backbone,
            replace(self.task, class_names=tuple(names)),
            self.options,
            base=self.base.for_classes(names),
        )
        known = {name: i for i, name in enumerate(self.task.class_names)}
        forget = self._position is not None  # the published code drops them on loading (MaPLe + LAMM)
        learned, learned_mask = self.labels()
        first = len(learned) - len(self.label_tokens)
        tokens = learned.shape[1]
        shape = (len(names), tokens, self.backbone.text_width)
        values, reference = torch.zeros(2, *shape, device=self.backbone.device)
        mask = torch.zeros(shape[:2], dtype=torch.bool, device=self.backbone.device)
        start = name_embeddings(self.backbone, names, tokens)
        for row, name in enumerate(names):
            if name not in known:
                continue
            i = known[name]
            values[row] = start[row] if forget else learned.detach()[i]
            reference[row] = start[row] if forget or i < first else self.label_reference[i - first]
            mask[row] = learned_mask[i]
        other.label_tokens = nn.Parameter(values)
        other.label_reference = reference
        other._mask = mask
        return other.train(self.training)

    @torch.no_grad()
    def extend(self, names: Sequence[str]) -> Method:
        """The same with further classes, which alone go on learning.

        Label tokens learned so far become buffers, the wrapped method's tensors no longer learn; text
        features of the old classes stay the same bit for bit.
        OptionError where the wrapped method has a context per class.
        """
        task = replace(self.task, class_names=check_names([*self.task.class_names, *names]))
        base = self.base.for_classes(task.class_names)
        for name, value in list(base.named_parameters()):
            set_parameter(base, name, nn.Parameter(value.detach().clone(), requires_grad=False))
        generator = torch.Generator().manual_seed(len(self.task.class_names))
        other = LAMM(self.backbone, task, self.options, generator, base=base)
        other.interpreter.budget = self.interpreter.budget
        held = self.kept.sizes.tolist() if self.kept is not None else []
        tokens, mask = (part.detach().clone() for part in self.labels())
        sizes = [*held, len(tokens) - sum(held)]
        other._keep(KeptClasses(sizes, {"tokens": tokens, "mask": mask}))
        return other.train(self.training)

    def train(self, mode: bool = True) -> LAMM:
        self._sessions.train(mode)
        return super().train(mode)

    @torch.no_grad()
    def _keep(self, kept: KeptClasses) -> None:
        """Takes the first classes as learned; label tokens of the others remain to be learned."""
        first, length = len(kept), max(kept["tokens"].shape[1], self.label_tokens.shape[1])
        kept.tokens, kept.mask = widen(kept["tokens"], kept["mask"], length)
        tokens, mask = widen(self.label_tokens[first:], self._mask[first:], length)
        self.label_reference = widen(self.label_reference[first:], mask, length)[0].clone()
        self.label_tokens, self._mask, self.kept = nn.Parameter(tokens.clone()), mask, kept
        self.base.requires_grad_(False)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A saved state with kept classes makes room for them first."""
        if self.kept is None:
            held = KeptClasses.found_in(state_dict, prefix, ("tokens", "mask"), self.backbone.device)
            if held is not None:
                self._keep(held)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def learned_labels(self) -> tuple[Tensor, Tensor] | None:
        return self.labels()

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        tokens = shapes.shape(f"{LEARNER}token_classes", (3,))[1]
        return {"reference": "published_code", "label_tokens": tokens}

    def published_names(self) -> dict[str, str]:
        return super().published_names() | {"prompt_learner.token_classes": "label_tokens"}


METHOD = LAMM
