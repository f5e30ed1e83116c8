"""The formulas of `by_hand.py` against the recorded cases: what the methods are compared with is right itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import by_hand
import numpy as np
import pytest
import torch
from torch import Tensor

PARITY = Path(__file__).parents[1] / "parity"
sys.path.insert(0, str(PARITY))
from backbone_weights import make_images, make_weights, normal  # noqa: E402

from vlprompt.backbones.tokenizing import clip_tokenizer  # noqa: E402

METHODS = ("kgcoop", "promptsrc", "tcp", "mmrl", "mmrlpp", "clip_lora", "gallop")
CASES = sorted(
    path
    for path in PARITY.glob("*.json")
    if path.stem.startswith(METHODS) and path.with_suffix(".npz").is_file()
)


def first_step(
    case: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and loss terms at the initial values, and the published tensors with their gradients."""
    seed, own = case["backbone"]["seed"], case.get(case["method"], {})
    clip = by_hand.Clip(make_weights(**case["backbone"]), clip_tokenizer().encode)
    params = {}
    for entry in case["trainable"]:
        value = arrays.get(f"init_param.{entry['name']}")
        if value is None:
            value = normal(seed, f"init:{entry['name']}", entry["shape"], entry["scale"])
        params[entry["name"]] = torch.tensor(value).requires_grad_()
    pixels = torch.from_numpy(make_images(case["images"]["seed"], case["images"]["shape"]))
    texts = [p["text"] for p in case["prompts"]]
    teachers = [p["text"] for p in case.get("teacher_prompts", [])]
    names = [name.replace("_", " ") for name in case["class_names"]]
    given = clip, params, pixels, torch.tensor(case["labels"])
    options = case["options"]
    match case["method"]:
        case "kgcoop":
            out = by_hand.kgcoop(*given, texts, teachers)
        case "tcp":
            out = by_hand.tcp(*given, texts, teachers, own["block"])
        case "promptsrc":
            templates = json.loads((PARITY / own["teacher_templates"]).read_text())["templates"]
            out = by_hand.promptsrc(*given, texts, [[t.format(n) for n in names] for t in templates])
        case "mmrl" | "mmrlpp":
            out = by_hand.mmrl(*given, texts, options["rep_layers"], own["alpha"], options.get("beta"))
        case "clip_lora":
            share = options["dropout"]

            def drop(name: str, x: Tensor) -> Tensor:
                kept = normal(seed, f"dropout:{name}:0", (x.shape[1], x.shape[0], x.shape[2])) > -0.6744898
                return x * torch.from_numpy(kept).transpose(0, 1) / (1 - share)

            out = by_hand.clip_lora(*given, texts, own["scaling"])
            if share:
                out["loss_ce"] = by_hand.clip_lora(*given, texts, own["scaling"], drop)["loss_ce"]
        case "gallop":
            count, topk = options["n_global_prompts"], options["topk"]
            topk = topk * (options["n_local_prompts"] if len(topk) == 1 else 1)
            keep = max(count - int(options["global_dropout"] * count), 1)
            drawn = np.floor(1000 * np.abs(normal(seed, "global_dropout:0", (len(pixels), 1, keep))))
            out = by_hand.gallop(*given, names, topk, torch.from_numpy(drawn[:, 0]).long() % count)
    weights = own.get("weights", {"ce": 1})
    out["loss"] = torch.stack([weight * out[f"loss_{term}"] for term, weight in weights.items()]).sum()
    out["loss"].backward()
    return out, params


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_formulas_give_the_recorded_numbers(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    with np.load(path.with_suffix(".npz")) as held:
        arrays = {key: held[key] for key in held.files}
    out, params = first_step(case, arrays)
    defect = "published_defect" in case  # then only the last blocks have the gradients of the formula
    last = tuple(f"{tower}transformer.resblocks.1." for tower in ("", "visual."))
    checked, differs = 0, False
    for key in case["observed"]:
        kind, _, name = key.removeprefix("out.").partition(".")
        expected, at = arrays[key], case["tolerances"][key]
        if kind == "grad":
            found = params[name].grad.reshape(-1)[: expected.size].reshape(expected.shape)
            if defect and not name.startswith(last):
                differs |= float(np.abs(found.numpy() - expected).max()) > at
                continue
        elif kind.startswith("loss"):
            found, expected = out[kind], expected[0]
        elif not name and not kind.startswith("transfer") and not kind.endswith(("after", "aggregated")):
            found = out[kind.removesuffix("_features")]
        else:
            continue
        gap = float(np.abs(found.detach().numpy() - expected).max())
        assert gap <= at, f"{key}: {gap} > {at}"
        checked += 1
    assert checked > 4 and differs == defect


def test_cases_are_there() -> None:
    assert len(CASES) >= 28
