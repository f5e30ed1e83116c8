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

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.task import Task
from vlprompt.methods.base import Batch, Edit, Method, set_parameter
from vlprompt.methods.sessions import KeptClasses, widen
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import Output, Prompts, TextPrompt, join_rows
from vlprompt.prompts.words import check_names, name_counts, name_embeddings


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
    parameter_weight: float = option(0.0, "lambda_1; 0: 1 / shots (published code: 1)", low=0)
    feature_weight: float = option(1.0, "lambda_2", low=0)
    logits_weight: float = option(0.05, "lambda_3", low=0)
    temperature: float = option(2.0, "T of the distillation", low=0.01)
    distillation: str = option(
        "auto",
        "which side is the target; auto: the reference (published code: the learner)",
        choices=("auto", "from_reference", "from_learner"),
    )


class LAMM(Method):
    """Wraps a method whose prompts hold class names; alone it wraps the frozen template."""

    Options = Options
    title = "LAMM"
    paper = "Gao et al., AAAI 2024"
    label_reference: Tensor
    kept: KeptClasses | None

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        options: OptionSet | None = None,
        generator: torch.Generator | None = None,
        *,
        base: Method | None = None,
    ) -> None:
        super().__init__(backbone, task, options, generator)
        names = check_names(task.class_names)
        self.base = base if base is not None else ZeroShot(backbone, task, generator=generator)
        self.needs = self.base.needs
        self.per_image_text = self.base.per_image_text  # type: ignore[misc]
        self.interpreter = self.base.interpreter
        self.per_step = self._cost()  # type: ignore[misc]
        counts = name_counts(backbone, names)
        self._published = self.options.reference == "published_code"
        self._position = self.base.published_label_position if self._published else None
        limit = self.options.label_tokens or self._default_tokens(counts)
        tokens = min(limit, max(counts))
        self._mask = torch.tensor([[j < n for j in range(tokens)] for n in counts], device=backbone.device)
        start = name_embeddings(backbone, names, tokens)
        if self.options.random_labels:
            start = self.normal(len(names), tokens, backbone.text_width).data * self._mask[..., None]
        self.label_tokens = nn.Parameter(start.clone())
        self.register_buffer("label_reference", start)
        self.kept = None  # classes of earlier sessions; label_tokens are those of the others
        self._bases: list[Method] = []  # the wrapped method for the classes of each session, made when needed
        self._anchor: Tensor | None = None

    def _cost(self) -> str:
        """What the wrapped method recomputes, and the text tower, which label tokens go through in any case."""
        own = self.base.per_step
        if not self.base.learns:
            return Method.per_step
        return own if "text" in own or own == "both towers" else f"{own}, {Method.per_step}"

    def _default_tokens(self, counts: Sequence[int]) -> int:
        if not self._published:
            return max(counts)
        return self.base.published_label_tokens or min(counts)

    # -- prompts ---------------------------------------------------------------------------------

    def prompts(self, image_features: Tensor | None = None) -> Prompts:
        prompts = self.base.prompts(image_features)
        return replace(prompts, text=self.place(prompts.text))

    def place(self, text: TextPrompt, classes: range | None = None) -> TextPrompt:
        """The label tokens in the name's place, row by row (rows may repeat the classes). classes: those of the rows."""
        if self._position is not None and self._mask.any():
            text = replace(text.shorten_prefix(self._position), label_start=0)
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
        return torch.cat([self.kept.tokens, self.label_tokens]), torch.cat([self.kept.mask, self._mask])

    # -- outputs and losses ----------------------------------------------------------------------

    def forward(self, batch: Batch, edit: Edit | None = None) -> Output:
        """In training, `extra` holds the reference features ("reference") and logits ("reference_logits")."""
        if not self.training or not self._uses_reference():
            return self._evaluate(batch)
        if not self._published:
            output = self._evaluate(batch)
            anchor = self.anchor()
            logits = self.logits(output.image.detach(), anchor)
            return replace(output, extra=output.extra | {"reference": anchor, "reference_logits": logits})
        if not any(p.requires_grad for p in self.base.parameters()):
            # nothing in the reference changes: the interpreter keeps it
            output = self._evaluate(batch)
            reference = self.interpreter.text(self.base.prompts(batch.features).text)
            reference = reference if self.per_image_text else reference[0]
            logits = self.logits(output.image, reference)
            return replace(output, extra=output.extra | {"reference": reference, "reference_logits": logits})
        output = self.base(batch, self._place_beside)
        classes = len(self.task.class_names)
        text, reference = output.text.split(classes, dim=-2)
        logits, reference_logits = output.logits.split(classes, dim=-1)
        extra = output.extra | {"reference": reference, "reference_logits": reference_logits}
        return Output(logits, output.image, text, extra)

    def _evaluate(self, batch: Batch) -> Output:
        """With label tokens. Kept classes: their features, or a pass for each earlier session in which
        nothing depends on later ones; both give the same bits as when the session ended."""
        if self.kept is None:
            return self.base(batch, self.place)
        if not self._rows_are_alone():
            combine = None if self.training else getattr(self.base, "combine", None)
            # in training its loss may need its outputs of all classes
            return (
                self.base(batch, self.place)
                if combine is None
                else combine(batch, self._session_by_session(batch))
            )
        new = self.base(batch, self._rows(self._latest()))
        with torch.no_grad():
            if self.per_image_text:
                old = [self.base(batch, self._rows(block)).text for block in self.kept.blocks()]
            else:
                old = [self.kept.features]
        text = torch.cat([*old, new.text], dim=-2)
        return Output(self.logits(new.image, text), new.image, text, new.extra)

    def _session_by_session(self, batch: Batch) -> Tensor:
        """Text features [C, d] (or [B, C, d]) of each session's classes from the wrapped method for these classes alone."""
        assert self.kept is not None
        sessions = [*self.kept.blocks(), self._latest()]
        if not self._bases:
            names = self.task.class_names
            self._bases = [
                self.base.for_classes(names[session.start : session.stop]).eval() for session in sessions
            ]
        parts = []
        for base, session in zip(self._bases, sessions, strict=True):
            parts.append(base(batch, lambda text, session=session: self.place(text, session)))
        return torch.cat([part.text for part in parts], dim=-2)

    def _latest(self) -> range:
        """The classes of the last session, whose label tokens go on learning."""
        return range(0 if self.kept is None else len(self.kept), len(self.task.class_names))

    def _rows(self, classes: Sequence[int]) -> Edit:
        return lambda text: self.place(text).rows(classes)

    def _rows_are_alone(self) -> bool:
        """Whether a class's features are those of its own prompt, whatever other classes there are."""
        return type(self.base).forward in (Method.forward, ZeroShot.forward)

    def _place_beside(self, text: TextPrompt) -> TextPrompt:
        """Rows with label tokens, then rows with the names, so that one pass evaluates both."""
        learned = self.place(text)
        return join_rows(learned, text.shorten_prefix(learned.prefix.shape[1]))

    @torch.no_grad()
    def reference_features(self, batch: Batch) -> Tensor:
        """Text features that the losses compare with, [C, d] (or [B, C, d])."""
        if not self._published:
            return self.anchor()
        classes = len(self.task.class_names)
        return self.base(batch, self._place_beside).text.split(classes, dim=-2)[1]

    def _uses_reference(self) -> bool:
        return self.options.feature_loss or self.options.logits_loss

    def anchor(self) -> Tensor:
        """Frozen zero-shot text features of the names, [C, d]."""
        if self._anchor is None:
            zero_shot = ZeroShot(self.backbone, self.task)
            self._anchor = zero_shot.text_features()
        return self._anchor

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
        features of the old classes stay the same bit for bit (up to rounding where that has a `forward` of its own but no `combine`).
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
        other._keep(KeptClasses(tokens, mask, sizes, self._text_to_keep()))
        return other.train(self.training)

    def _text_to_keep(self) -> Tensor:
        """Text features of all classes, [C, d], as evaluation computes them; [0, d] if they differ by picture."""
        if self.per_image_text or not self._rows_are_alone():
            return torch.zeros(0, self.backbone.embed_dim, device=self.backbone.device)
        text = self.base.prompts().text
        if self.kept is None:
            return self.interpreter.text(self.place(text))[0]
        rows = self._rows(self._latest())
        return torch.cat([self.kept.features, self.interpreter.text(rows(text))[0]])

    @torch.no_grad()
    def _keep(self, kept: KeptClasses) -> None:
        """Takes the first classes as learned; label tokens of the others remain to be learned."""
        first, length = len(kept), max(kept.tokens.shape[1], self.label_tokens.shape[1])
        kept.tokens, kept.mask = widen(kept.tokens, kept.mask, length)
        tokens, mask = widen(self.label_tokens[first:], self._mask[first:], length)
        self.label_reference = widen(self.label_reference[first:], mask, length)[0].clone()
        self.label_tokens, self._mask, self.kept = nn.Parameter(tokens.clone()), mask, kept
        self.base.requires_grad_(False)
        self._bases = []

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A saved state with kept classes makes room for them first."""
        names = {part: f"{prefix}kept.{part}" for part in ("tokens", "mask", "sizes", "features")}
        if self.kept is None and all(name in state_dict for name in names.values()):
            held = {part: state_dict[name].to(self.backbone.device) for part, name in names.items()}
            self._keep(
                KeptClasses(held["tokens"], held["mask"], held["sizes"].tolist(), held["features"].clone())
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def published_names(self) -> dict[str, str]:
        names = {theirs: f"base.{ours}" for theirs, ours in self.base.published_names().items()}
        return names | {"prompt_learner.token_classes": "label_tokens"}


METHOD = LAMM
