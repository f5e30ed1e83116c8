"""What the second set of cases adds: options of its methods, outputs beside logits, and injected random numbers.

PromptSRC, KgCoOp, TCP, MMRL, MMRL++, CLIP-LoRA and GalLoP; the same keys, comparison and tolerances as the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from backbone_weights import normal
from torch import Tensor

from vlprompt.methods.base import Batch, Method

METHODS = ("kgcoop", "promptsrc", "tcp", "mmrl", "mmrlpp", "clip_lora", "gallop")


def method_options(case: dict[str, Any], prompt_template: str) -> dict[str, Any]:
    """The case's options under our names. prompt_template: what the learned prompts were made with."""
    method, given = case["method"], case["options"]
    own = case.get(method, {})
    weights = own.get("weights", {})
    published = {"reference": "published_code"}
    words = (given.get("ctx_init") or "").replace("_", " ")
    if method == "kgcoop":
        return published | {
            "context_tokens": given["n_ctx"],
            "context_init": words,
            "class_specific": given.get("csc", False) and not words,
            "weight": weights["distance"],
        }
    if method == "tcp":
        return published | {
            "context_tokens": given["n_ctx"],
            "context_init": "",  # initial values are stored
            "prompt_template": prompt_template,
            "block": own["block"] + 1,
            "weight": weights["distance"],
        }
    if method == "promptsrc":
        aggregation = case.get("aggregation", {"mean": 1, "std": 0})
        return published | {
            "context_tokens": given["n_ctx_text"],
            "context_init": words,
            "text_depth": given["depth_text"],
            "image_depth": given["depth_vision"],
            "image_tokens": given.get("n_ctx_vision") or 1,
            "text_weight": weights["text"],
            "image_weight": weights["image"],
            "average_mean": aggregation["mean"],
            "average_std": aggregation["std"],
        }
    if method in ("mmrl", "mmrlpp"):
        options = {
            "tokens": given["n_rep_tokens"],
            "blocks": ",".join(map(str, given["rep_layers"])),
            "width": given["rep_dim"],
            "alpha": own["alpha"],
            "regularisation": weights["image"],
        }
        if method == "mmrlpp":
            options |= {key: given[key] for key in ("beta", "projection_rank", "residual_rank")}
        return options
    if method == "clip_lora":
        return {
            "encoder": given["encoder"],
            "matrices": "".join(given["matrices"]),
            "rank": given["rank"],
            "alpha": given["alpha"],
            "blocks": given["position"],
            "dropout": given["dropout"],
        }
    return published | {
        "global_prompts": given["n_global_prompts"],
        "local_prompts": given["n_local_prompts"],
        "context_init": words,
        "patches": ",".join(map(str, given["topk"])),
        "dropout": given["global_dropout"],
    }


def inject(case: dict[str, Any], method: Any) -> None:
    """The method draws its random numbers from the case's generator."""
    seed = case["backbone"]["seed"]
    if case["method"] == "clip_lora" and case["options"]["dropout"]:
        names = {
            ours.removesuffix(".down"): theirs.removesuffix(".w_lora_A")
            for theirs, ours in method.published_names().items()
            if theirs.endswith(".w_lora_A")
        }

        def kept(name: str, step: int, shape: tuple[int, int, int]) -> Tensor:
            rows, tokens, width = shape  # theirs: all 77 positions of texts, and positions first
            long = tokens if ".visual." in f".{names[name]}" else 77
            drawn = normal(seed, f"dropout:{names[name]}:{step}", (long, rows, width)) > -0.6744898
            return torch.from_numpy(drawn.transpose(1, 0, 2)[:, :tokens].copy())

        method.draw = kept
    if case["method"] == "gallop":

        def chosen(step: int, pictures: int, keep: int, count: int) -> Tensor:
            drawn = np.abs(normal(seed, f"global_dropout:{step}", (pictures, 1, keep)))
            return torch.from_numpy(np.floor(1000 * drawn[:, 0])).long() % count

        method.draw = chosen


def outputs(
    case: dict[str, Any], method: Method, batch: Batch, before: str = "", after: str = ""
) -> dict[str, Any]:
    """Further outputs in evaluation. before, after: of the keys' names, as in `transfer_` and `_after`."""
    with torch.no_grad():
        extra = method.eval()(batch).extra
        if case["method"] in ("kgcoop", "tcp", "promptsrc", "mmrl", "mmrlpp"):
            extra = extra | {k: v for k, v in method.train()(batch).extra.items() if k.startswith("teacher")}
            method.eval()
    if case["method"] == "gallop":
        scale = method.backbone.logit_scale
        both = {"global_probabilities": "global_logits", "local_probabilities": "local_logits"}
        extra = extra | {ours: extra[theirs].softmax(-1) for ours, theirs in both.items()}
        extra["probabilities"] = ((extra["global_logits"] + extra["local_logits"]) / 2).softmax(-1)
        assert scale > 0
    names = {
        "teacher_text": "teacher_text_features",
        "teacher_image": "teacher_image_features",
        "image_rep": "image_rep_features",
        "class_token_logits": "logits",
        "token_logits": "logits_rep",
        "fusion_logits": "logits_fusion",
        "global_text": "global_text_features",
        "local_text": "local_text_features",
        "local": "local_features",
    }
    return {f"out.{before}{names.get(key, key)}{after}": value.numpy() for key, value in extra.items()}
