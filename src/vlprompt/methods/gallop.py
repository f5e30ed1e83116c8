"""GalLoP: prompts that look at the whole picture, and prompts that each look at the patches that match them best.

    g_p = f . w_p;   l_p = mean of the k_p largest over patches j of normalise(P V u_j) . w'_p
    logits: s (mean_p g_p + mean_p l_p) / 2
    L = mean_p CE(s l_p) + CE(s mean of g_p over some prompts, drawn for each picture)

f: image feature; u_j: last states of the patches where the last attention of each is its own value alone; V learned, at
first the identity; P: the tower's projection. Text: [SOS][v_1]..[v_n][name][EOT], n vectors for each prompt.

Source: Lafon et al., "GalLoP: Learning Global and Local Prompts for Vision-Language Models", ECCV 2024, section 3. The
published code draws the global prompts of a picture with replacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch, Facts, Method, Recipe, Seen
from vlprompt.methods.best_patches import best_patches, check_counts, patch_counts
from vlprompt.methods.published import PublishedShapes
from vlprompt.options import OptionSet, option
from vlprompt.prompts.tokens import Output, Text
from vlprompt.prompts.words import check_names, context_start, template_prompt
from vlprompt.seeds import generator

FACTS = Facts(
    title="GalLoP",
    paper="Lafon et al., ECCV 2024",
    link="https://arxiv.org/abs/2407.01400",
    order=75,
    needs={"features", "patch_states"},
    per_step="text tower over all classes, once per prompt",
    recipe=Recipe(epochs=200, batch=32, lr=0.002, weight_decay=0.01, warmup_epochs=0),
    plain_words="several wordings, some for the picture and some for its parts",
    published_marks=("global_prompt", "local_prompts"),
    colour="#999933",
    marker="d",
)


@dataclass(frozen=True)
class Options(OptionSet):
    global_prompts: int = option(4, "prompts for the whole picture", low=1, high=64)
    local_prompts: int = option(4, "prompts for parts of it", low=1, high=64)
    context_tokens: int = option(4, "learned tokens; without effect if context_init is given", low=1, high=64)
    context_init: str = option("A photo of a", "words whose embeddings start every prompt")
    patches: str = option(
        "5,10,15,20",
        "how many patches each local prompt looks at: one number for all, or as many as there are local prompts",
    )
    dropout: float = option(
        0.75, "share of the global prompts that are left out for a picture", low=0, high=1
    )
    reference: str = option(
        "paper",
        "global prompts of a picture are drawn without replacement, or with it (published code)",
        choices=("paper", "published_code"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.patch_counts()

    def patch_counts(self) -> list[int]:
        """The number of patches of each local prompt."""
        check_counts(self.patches)
        counts = patch_counts(self.patches)
        if len(counts) not in (1, self.local_prompts):
            raise OptionError(
                f'patches is "{self.patches}": expected one number, or one for each of {self.local_prompts} local prompts'
            )
        return counts * self.local_prompts if len(counts) == 1 else counts


class GalLoP(Method):
    """`extra` holds both halves ("global_logits", "local_logits"), all text features ("global_text", "local_text",
    [C, P, d]) and the patches' ("local", [B, N, d]); in training what the loss needs."""

    Options = Options
    facts = FACTS
    drawn: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opts, backbone = self.options, self.backbone
        names = check_names(self.task.class_names)
        _, n, start = context_start(backbone, opts.context_init, opts.context_tokens)
        self.global_prompts = self._contexts(opts.global_prompts, n, start)
        self.local_prompts = self._contexts(opts.local_prompts, n, start)
        self.local_map = nn.Parameter(torch.eye(backbone.image_width, device=backbone.device))
        self._names = template_prompt(backbone, names, "{}")
        # seed of the choices and steps done: with both saved, an interrupted training goes on with the same choices
        seed = int(torch.randint(2**31, (1,), generator=self.generator))
        self.register_buffer("drawn", torch.tensor([seed, 0]))

    def _contexts(self, count: int, n: int, start: Tensor | None) -> nn.Parameter:
        if start is None:
            return self.normal(count, n, self.backbone.text_width)
        return nn.Parameter(start.repeat(count, 1, 1))

    def draw(self, step: int, pictures: int, keep: int, count: int) -> Tensor:
        """Which global prompts each picture trains in this step, [pictures, keep] numbers."""
        source = generator(int(self.drawn[0]), "global prompts of a step", step)
        if self.options.reference == "published_code":
            return torch.randint(count, (pictures, keep), generator=source)
        return torch.rand(pictures, count, generator=source).argsort(dim=1)[:, :keep]

    def see(self, batch: Batch) -> Seen:
        """In training it also draws the pictures' prompts, and counts the step."""
        seen = super().see(batch)
        features = seen.features
        if not self.training:
            return seen
        count = len(self.global_prompts)
        keep = max(count - int(self.options.dropout * count), 1)
        chosen = self.draw(int(self.drawn[1]), len(features), keep, count)
        self.drawn[1] += 1
        return replace(seen, extra=seen.extra | {"chosen": chosen.to(features.device)})

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        """Every class under every prompt, global ones first."""
        return [self._names.with_context(torch.cat([self.global_prompts, self.local_prompts]))]

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        of_whole, of_parts = features[0].split([len(self.global_prompts), len(self.local_prompts)])
        scale, image = self.backbone.logit_scale, seen.features
        local = self.backbone.vit.project(seen.extra["states"], self.local_map)
        whole = scale * torch.einsum("bd,pcd->bpc", image, of_whole)
        parts = scale * best_patches(local, of_parts, self.options.patch_counts())
        halves = {"global_logits": whole.mean(dim=1), "local_logits": parts.mean(dim=1)}
        extra = halves | {
            "global_text": of_whole.transpose(0, 1),
            "local_text": of_parts.transpose(0, 1),
            "local": local,
        }
        if self.training:
            chosen = seen.extra["chosen"][..., None].expand(-1, -1, whole.shape[-1])
            extra |= {"chosen_logits": whole.gather(1, chosen).mean(dim=1), "each_local_logits": parts}
        logits = (halves["global_logits"] + halves["local_logits"]) / 2
        return Output(logits, image, of_whole.mean(dim=0), extra)

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        if "chosen_logits" not in output.extra:
            return super().loss(output, labels)
        parts = output.extra["each_local_logits"]
        each = F.cross_entropy(parts.flatten(0, 1), labels.repeat_interleave(parts.shape[1]))
        return {"local": each, "global": F.cross_entropy(output.extra["chosen_logits"], labels)}

    def learned_context(self) -> Tensor | None:
        return torch.cat([self.global_prompts, self.local_prompts]).detach()

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        count, tokens, _ = shapes.shape("global_prompt", (3,))
        return {
            "global_prompts": count,
            "local_prompts": shapes.shape("local_prompts", (3,))[0],
            "context_tokens": tokens,
            "context_init": "",
            "reference": "published_code",
        }

    def published_names(self) -> dict[str, str]:
        return {
            "global_prompt": "global_prompts",
            "local_prompts": "local_prompts",
            "local_proj.linear.weight": "local_map",
        }


METHOD = GalLoP
