"""What to learn and how, and everything that is known before the first step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.data.dataset import Dataset
from vlprompt.data.sampling import Split
from vlprompt.data.task import DEFAULT_TEMPLATE, ZERO_SHOT_TEMPLATES, Task
from vlprompt.errors import OptionError
from vlprompt.fitting.recipes import load_recipe
from vlprompt.methods.base import Method, Recipe, set_parameter
from vlprompt.options import build
from vlprompt.runs.run import PRECISIONS, Run
from vlprompt.runs.titles import title
from vlprompt.seeds import generator
from vlprompt.training.run_log import ESCAPED
from vlprompt.training.train_options import TrainOptions

DEFAULT_METHOD = "coop+lamm"


@dataclass(frozen=True)
class Plan:
    """What to learn and how, beside data, backbone and seed.

    method: a name that `methods.load` knows. options: of the method. train: of the loop.
    templates: () for the default; the first is the method's, the mean of all is the zero-shot reference. A data set
        of the catalog brings its own for zero-shot and what builds on it; prompts start from "a photo of a {}.".
    """

    method: str = DEFAULT_METHOD
    options: dict[str, Any] = field(default_factory=dict)
    train: TrainOptions = field(default_factory=TrainOptions)
    templates: tuple[str, ...] = ()


def make_plan(
    method: str | type[Method] | None = None,
    options: dict[str, Any] | None = None,
    train: dict[str, Any] | TrainOptions | None = None,
    recipe: str | Path | None = None,
    templates: str | Sequence[str] | None = None,
) -> Plan:
    """A plan from loose input; what is given explicitly goes before what a recipe says."""
    held = load_recipe(recipe) if recipe is not None else None
    name = methods.name_of(method or (held.method if held else DEFAULT_METHOD))
    options = (held.options if held else {}) | dict(options or {})
    methods.load(name).options(options)  # bad values stop here, before anything is read
    if not isinstance(train, TrainOptions):
        train = build(TrainOptions, (held.train if held else {}) | dict(train or {}), owner="training")
    texts = (templates,) if isinstance(templates, str) else tuple(templates or ())
    return Plan(name, options, train, texts)


def prepare(
    dataset: Dataset,
    split: Split,
    backbone: Backbone,
    plan: Plan,
    tokenizer: str | None = None,
    after: Run | None = None,
) -> tuple[Method, TrainOptions, dict[str, Any]]:
    """The method with its initial values, the resolved training options, and what is known before training."""
    spec = methods.load(plan.method)
    spoken = plan.templates or (dataset.templates if spec.outermost.says_template else ())
    task = Task(split.class_names, spoken or (DEFAULT_TEMPLATE,), shots_of(split))
    if after is None:
        method = spec.build(backbone, task, plan.options, generator(split.seed, "initial values"))
    else:
        method = extended(after.learned, split.class_names)
    options = plan.train.resolved(recipe_of(method), method.needs)
    method.interpreter.budget = int(options.memory * 2**30) // 2  # the other half is for pictures
    info: dict[str, Any] = {
        "method": plan.method,
        "title": title(method),
        "paper": method.paper,
        "options": {k: v for s in spec.options(plan.options) for k, v in asdict(s).items()},
        "train": asdict(options) if method.learns and method.trains else None,
        "seed": split.seed,
        "shots": split.shots,
        "task_shots": task.shots,
        "class_names": list(task.class_names),
        "templates": list(task.templates),
        "zero_shot_templates": list(plan.templates or dataset.templates or ZERO_SHOT_TEMPLATES),
        "backbone": {
            "source": backbone.name,
            "fingerprint": backbone.fingerprint,
            "precision": PRECISIONS.get(backbone.dtype, str(backbone.dtype)),
            "tokenizer": tokenizer,
        },
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "split": dataset.split_origin,
            "classes": split.which,
            "train": len(split.train),
            "val": len(split.val),
            "test": len(split.test),
        },
    }
    if after is not None:
        info["after"] = after.info["settings"]
    drawn = [[(item.path, item.label) for item in items] for items in (split.train, split.val, split.test)]
    decisive = [info | {"train": options.decisive()}, drawn, backbone.device.type]
    info["settings"] = hashlib.sha256(
        json.dumps(decisive, ensure_ascii=False).encode(errors=ESCAPED)
    ).hexdigest()[:16]
    info["data"]["origin"] = dataset.origin  # where they lie decides nothing
    return method, options, info


def extended(method: Method, names: Sequence[str]) -> Method:
    """The method for its classes and further ones, with tensors of its own to go on learning."""
    known = len(method.task.class_names)
    if tuple(names[:known]) != method.task.class_names:
        raise OptionError("a run goes on with its own classes first, in their order, and then others")
    other = method.extend(list(names[known:])) if len(names) > known else method.for_classes(list(names))
    for name, value in list(other.named_parameters()):
        set_parameter(other, name, nn.Parameter(value.detach().clone(), requires_grad=value.requires_grad))
    return other.train()


def shots_of(split: Split) -> int:
    """Training pictures per class as asked for; with all of them, their mean."""
    return split.shots or max(1, round(len(split.train) / max(1, len({i.label for i in split.train}))))


def recipe_of(method: Method) -> Recipe:
    """The published settings: of the method that LAMM wraps, if it learns."""
    base = getattr(method, "base", None)
    return base.recipe if isinstance(base, Method) and base.learns else method.recipe
