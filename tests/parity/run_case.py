"""Run parity cases through the library: the same inputs, our code, the same output keys.

usage: python tests/parity/run_case.py --out DIR CASE.json [CASE.json ...] [--interpreter fast|plain] [--precision float64|float32]

The initial values come from the CASE.npz beside each CASE.json. Writes DIR/CASE.npz with the
`out.*` keys that the case observes; compare them with `compare.py`.

The library's code runs in float64 unless told otherwise, so that arithmetic is compared and not rounding: for single
tensors the recorded tolerance is less than what float32 differs by between two orders of summation.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import second_set
from backbone_weights import make_images, make_weights, normal

from vlprompt import methods
from vlprompt.backbones.assembling import build_backbone
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.tokenizing import clip_tokenizer
from vlprompt.data.task import Task
from vlprompt.methods.base import Batch, Method
from vlprompt.methods.lamm import LAMM
from vlprompt.prompts.interpreters.plain import Plain
from vlprompt.training.optimizers import make_optimizer

DTYPES = {"float64": torch.float64, "float32": torch.float32}
METHOD_NAMES = {"zeroshot_ensemble": "zeroshot", "coop_lamm": "coop+lamm", "maple_lamm": "maple+lamm"}


def method_options(case: dict[str, Any]) -> dict[str, Any]:
    """The case's options under our names."""
    given, method = case["options"], case["method"]
    base = method.removesuffix("_lamm")
    if base in second_set.METHODS:
        return second_set.method_options(case, templates(case)[0])
    words = (given.get("ctx_init") or "").replace("_", " ")
    options: dict[str, Any] = {}
    if base == "coop":
        options = {
            "context_tokens": given["n_ctx"],
            "context_init": words,
            "class_specific": given.get("csc", False),
            "name_position": given["class_token_position"],
        }
    elif base == "cocoop":
        options = {"context_tokens": given["n_ctx"], "context_init": words}
    elif base == "vpt":
        options = {"image_tokens": given["n_ctx_vision"], "image_depth": given["depth_vision"]}
    elif base == "ivlp":
        options = {
            "context_tokens": given["n_ctx_text"],
            "context_init": words,
            "text_depth": given["depth_text"],
            "image_depth": given["depth_vision"],
            "image_tokens": given.get("n_ctx_vision") or 1,
        }
    elif base == "maple":
        options = {
            "context_tokens": given["n_ctx"],
            "context_init": words,
            "depth": given["depth"],
            "init_always": bool(given.get("ctx_init_used")),
        }
    if "lamm" in case:
        lamm = case["lamm"]
        losses = lamm["hierarchical_losses"]
        weights = lamm.get("weights") or {}
        options |= {
            "reference": "published_code",
            "label_tokens": lamm["label_tokens"],
            "random_labels": lamm["initial_labels"] == "random",
            "parameter_loss": losses,
            "feature_loss": losses,
            "logits_loss": losses,
        }
        if losses:
            options |= {
                "parameter_weight": weights["parameter"],
                "feature_weight": weights["feature"],
                "logits_weight": weights["logits"],
                "temperature": lamm["temperature"],
            }
    return options


def templates(case: dict[str, Any], of: str = "prompts") -> tuple[str, ...]:
    """The templates that the case's prompts (or `of` others) were made with, read back from prompts and names."""
    options = case["options"]
    if case["method"] == "lamm":
        words = (options.get("ctx_init") or " ".join(["X"] * options["n_ctx"])).replace("_", " ")
        return (f"{words} {{}}.",)
    if "templates" in options and isinstance(options["templates"], list):
        return tuple(options["templates"])
    names = [name.replace("_", " ") for name in case["class_names"]]
    texts = [p["text"] for p in case[of]]
    return tuple(read_template(texts[i : i + len(names)], names) for i in range(0, len(texts), len(names)))


def read_template(texts: list[str], names: list[str]) -> str:
    """The one template that gives every text from its name."""
    at = texts[0].find(names[0])
    while at >= 0:
        template = texts[0][:at] + "{}" + texts[0][at + len(names[0]) :]
        if [template.replace("{}", name) for name in names] == texts:
            return template
        at = texts[0].find(names[0], at + 1)
    raise ValueError(f"no template gives {texts}")


@lru_cache(maxsize=4)
def backbone_of(arguments: str, precision: str = "float32") -> Backbone:
    backbone = build_backbone(make_weights(**json.loads(arguments)), clip_tokenizer(), name="parity")
    for tower in (backbone.text, backbone.image):
        tower.to(DTYPES[precision])
    return backbone


def initial_value(case: dict[str, Any], arrays: dict[str, np.ndarray], entry: dict[str, Any]) -> Tensor:
    """Stored in the npz, or generated."""
    value = arrays.get(f"init_param.{entry['name']}")
    if value is None:
        value = normal(case["backbone"]["seed"], f"init:{entry['name']}", entry["shape"], entry["scale"])
    return torch.from_numpy(np.asarray(value))


def build(case: dict[str, Any], arrays: dict[str, np.ndarray], precision: str = "float64") -> Method:
    backbone = backbone_of(json.dumps(case["backbone"]), precision)
    shots = case.get("lamm", {}).get("shots", 16)
    said = Task.templates
    if case["method"] in ("zeroshot", "zeroshot_ensemble", "vpt", "lamm", "mmrl", "mmrlpp", "clip_lora"):
        said = templates(case)
    elif "teacher_prompts" in case:
        said = templates(case, "teacher_prompts")
    task = Task(tuple(case["class_names"]), said, shots)
    name = METHOD_NAMES.get(case["method"], case["method"])
    method = methods.load(name).build(backbone, task, method_options(case)).to(DTYPES[precision])
    own = dict(method.named_parameters())
    published = method.published_names()
    with torch.no_grad():
        for entry in case.get("trainable", []):
            theirs = entry["name"]
            if theirs in published:
                own[published[theirs]].copy_(initial_value(case, arrays, entry))
            elif theirs not in case.get(
                "no_gradient", []
            ):  # prompts beyond the last block: nothing uses them
                raise KeyError(f"{case['name']}: {theirs} has no counterpart")
        if isinstance(method, LAMM):
            method.label_reference.copy_(torch.from_numpy(arrays["label_reference"]))
        if "frozen_context" in arrays:  # LAMM alone: the template's words are given as vectors
            prompt = method.base.prompt
            context = torch.from_numpy(arrays["frozen_context"])[None]
            method.base.prompt = replace(prompt, prefix=torch.cat([prompt.prefix[:, :1], context], dim=1))
    second_set.inject(case, method)
    return method


def whole_and_part(
    case: dict[str, Any], kind: str, theirs: str, value: Tensor, out: dict[str, np.ndarray]
) -> None:
    """The tensor, or for a large one its first elements and three float64 summaries."""
    array = value.detach().numpy()
    if array.size <= case["large_tensor_limit"]:
        out[f"out.{kind}.{theirs}"] = array.copy()
        return
    exact = array.astype(np.float64)
    out[f"out.{kind}.{theirs}"] = array.reshape(-1)[: case["slice"]].copy()
    out[f"out.{kind}_norm.{theirs}"] = np.float32(np.sqrt((exact**2).sum()))
    out[f"out.{kind}_sum.{theirs}"] = np.float32(exact.sum())
    probe = normal(0, f"probe:{theirs}", array.shape).astype(np.float64)
    out[f"out.{kind}_dot.{theirs}"] = np.float32((exact * probe).sum())


def run(
    case: dict[str, Any], arrays: dict[str, np.ndarray], interpreter: str = "fast", precision: str = "float64"
) -> dict[str, np.ndarray]:
    method = build(case, arrays, precision)
    if interpreter == "plain":
        use_plain(method)
    pixels = torch.from_numpy(make_images(case["images"]["seed"], case["images"]["shape"])).to(
        DTYPES[precision]
    )
    batch = Batch(pixels=pixels)
    out: dict[str, np.ndarray] = {}

    def evaluate(of: Method, text: str, image: str, logits: str) -> None:
        with torch.no_grad():
            output = of.eval()(batch)
        out[text], out[image], out[logits] = output.text.numpy(), output.image.numpy(), output.logits.numpy()
        if case["method"] in second_set.METHODS:
            before, after = logits.removeprefix("out.").split("logits")
            out.update(second_set.outputs(case, of, batch, before, after))

    evaluate(method, "out.text_features", "out.image_features", "out.logits")
    if isinstance(method, LAMM):
        with torch.no_grad():
            out["out.reference_features"] = method.reference_features(batch).numpy()
    if case.get("steps"):
        for average in train(case, arrays, method, batch, out):
            evaluate(method, "unused", "unused", "out.logits_after")
            if average is not None:  # the last epoch ends: an average takes the place of what was learned
                average()
                for theirs, value in learned(case, arrays, method):
                    whole_and_part(case, "aggregated", theirs, value, out)
                evaluate(method, "unused", "unused", "out.logits_aggregated")
    if "transfer" in case:
        other = method.for_classes(case["transfer"]["class_names"])
        if interpreter == "plain":
            use_plain(other)
        evaluate(other, "out.transfer_text_features", "out.transfer_image_features", "out.transfer_logits")
    return {key: np.asarray(out[key], dtype=np.float32) for key in case["observed"]}


def use_plain(method: Method) -> None:
    for part in method.modules():
        if isinstance(part, Method):
            part.interpreter = Plain(part.backbone)  # type: ignore[assignment]


def learned(case: dict[str, Any], arrays: dict[str, np.ndarray], method: Method) -> list[tuple[str, Tensor]]:
    """Trainable tensors under the published names; those that no block uses stay as they were."""
    published, own = method.published_names(), dict(method.named_parameters())
    names = [entry["name"] for entry in case["trainable"]]
    unused = {
        e["name"]: initial_value(case, arrays, e) for e in case["trainable"] if e["name"] not in published
    }
    return [(n, own[published[n]] if n in published else unused[n]) for n in names]


def train(
    case: dict[str, Any],
    arrays: dict[str, np.ndarray],
    method: Method,
    batch: Batch,
    out: dict[str, np.ndarray],
) -> Iterator[Callable[[], None] | None]:
    """Takes the steps; gives what ends the last epoch, for cases that have epochs, when all are taken."""
    labels = torch.tensor(case["labels"])
    own = dict(method.named_parameters())
    opt = case["optimizer"]
    optimizer = make_optimizer(
        opt["type"].lower(),
        own.values(),
        lr=opt["lr"],
        momentum=opt.get("momentum", 0.0),
        weight_decay=opt["weight_decay"],
    )
    records: dict[str, list[float]] = {}
    epochs = case.get("aggregation", {}).get("epochs", 0)
    per_epoch = case.get("aggregation", {}).get("steps_per_epoch", 0)
    last: Callable[[], None] | None = None
    method.train()
    for step in range(case["steps"]):
        for group in optimizer.param_groups:
            group["lr"] = case.get("learning_rates", [opt["lr"]] * case["steps"])[step]
        terms = method.loss(method(batch), labels)
        total = method.total_loss(terms)
        optimizer.zero_grad()
        total.backward()
        for name, value in {"": total, **{f"_{k}": v for k, v in terms.items()}}.items():
            records.setdefault(f"out.loss{name}", []).append(float(value.detach()))
        if step == 0:
            for theirs, value in learned(case, arrays, method):
                if theirs not in case.get("no_gradient", []):
                    assert value.grad is not None
                    whole_and_part(case, "grad", theirs, value.grad, out)
        optimizer.step()
        if epochs and (step + 1) % per_epoch == 0:
            last = partial(method.end_of_epoch, step // per_epoch, epochs)
            if step + 1 < case["steps"]:
                last()
    for theirs, value in learned(case, arrays, method):
        whole_and_part(case, "after", theirs, value, out)
    out.update({key: np.asarray(values, dtype=np.float32) for key, values in records.items()})
    yield last


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--interpreter", choices=("fast", "plain"), default="fast")
    parser.add_argument("--precision", choices=tuple(DTYPES), default="float64")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.cases:
        case = json.loads(path.read_text(encoding="utf-8"))
        npz = path.with_suffix(".npz")
        with np.load(npz) as held:
            arrays = {key: held[key] for key in held.files}
        np.savez(args.out / npz.name, **run(case, arrays, args.interpreter, args.precision))  # type: ignore[arg-type]
        print(f"wrote {args.out / npz.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
