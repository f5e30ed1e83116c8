"""What to learn and how, and everything that is known before the first step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.data.dataset import Dataset
from vlprompt.data.sampling import Split
from vlprompt.data.task import DEFAULT_TEMPLATE, ZERO_SHOT_TEMPLATES, Task
from vlprompt.errors import DataError, OptionError
from vlprompt.fitting.choosing import AUTO, Chosen
from vlprompt.fitting.measuring import per_class
from vlprompt.fitting.recipes import load_recipe
from vlprompt.methods.base import Method, set_parameter
from vlprompt.methods.finding import MethodSpec
from vlprompt.options import build
from vlprompt.runs.info import DataInfo, RunInfo
from vlprompt.runs.run import Run, backbone_info
from vlprompt.runs.seals import sealed
from vlprompt.seeds import generator
from vlprompt.training.run_log import ESCAPED
from vlprompt.training.train_options import TrainOptions

BLEND = "blend"
DEFAULT_METHOD = AUTO
# what `settings` is made from, in this order, so that runs of earlier versions are still known
DECISIVE = (
    "method",
    "title",
    "paper",
    "options",
    "train",
    "seed",
    "shots",
    "task_shots",
    "class_names",
    "templates",
    "zero_shot_templates",
    "backbone",
    "data",
)


@dataclass(frozen=True)
class Plan:
    """What to learn and how, beside data, backbone and seed.

    method: a name that `methods.load` knows. options: of the method. train: of the loop.
    templates: () for the default; the first is the method's, the mean of all is the zero-shot reference. A data set
        of the catalog brings its own for zero-shot and what builds on it; prompts start from "a photo of a {}.".
    notices: what is to be told before anything is learned.
    """

    method: str = DEFAULT_METHOD
    options: dict[str, Any] = field(default_factory=dict)
    train: TrainOptions = field(default_factory=TrainOptions)
    templates: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def spec(self) -> MethodSpec:
        """What is built; where the method is left to be chosen, what a choice can become."""
        return methods.load(BLEND if self.method == AUTO else self.method)


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
    if name == AUTO and options:
        raise OptionError(
            f'method "{AUTO}" chooses by itself and has no options: name a method to give it some'
        )
    if not isinstance(train, TrainOptions):
        given = dict(train or {})
        usual = dict(held.train) if held else {}
        if given.get("epochs"):
            usual.pop("least_steps", None)  # who counts epochs is to have so many
        train = build(TrainOptions, usual | given, owner="training")
    texts = (templates,) if isinstance(templates, str) else tuple(templates or ())
    notices: tuple[str, ...] = ()
    if held is not None and held.method != name:
        notices = (f"recipe {recipe} is of {held.method}: {name} takes its settings",)
    plan = Plan(name, options, train, texts, notices)
    plan.spec.options(options)  # bad values stop here, before anything is read
    return plan


def prepare(
    dataset: Dataset, split: Split, backbone: Backbone, plan: Plan, after: Run | None = None
) -> tuple[Method, TrainOptions, RunInfo]:
    """The method with its initial values, the resolved training options, and what is known before training."""
    check_text(split.class_names)
    spec = plan.spec
    spoken = plan.templates or (dataset.templates if spec.facts.says_template else ())
    task = Task(split.class_names, spoken or (DEFAULT_TEMPLATE,), shots_of(split))
    if after is None:
        method = spec.build(backbone, task, plan.options, generator(split.seed, "initial values"))
    else:
        method = extended(after.learned, split.class_names)
    options = plan.train.resolved(method.facts.recipe, method.facts.needs)
    method.interpreter.budget = int(options.memory * 2**30) // 2  # the other half is for pictures
    info = RunInfo(
        method=plan.method,
        title=method.facts.title,
        paper=method.facts.paper,
        options={k: v for s in spec.options(plan.options) for k, v in asdict(s).items()},
        train=asdict(options) if method.facts.takes_steps else None,
        seed=split.seed,
        shots=split.shots,
        task_shots=task.shots,
        class_names=list(task.class_names),
        templates=list(task.templates),
        zero_shot_templates=list(plan.templates or dataset.templates or ZERO_SHOT_TEMPLATES),
        backbone=backbone_info(backbone),
        data=DataInfo(
            dataset.name,
            dataset.fingerprint,
            dataset.split_origin,
            split.which,
            len(split.train),
            len(split.val),
            len(split.test),
            per_class=per_class(split.train),
        ),
        after=after.info.settings if after is not None else None,
    )
    info.settings = settings_hash(info, plan.method, options, split, backbone.device.type)
    info.data.origin = dataset.origin  # where they lie decides nothing
    info.data.seal = sealed(dataset.origin)
    return method, options, info


def check_text(names: Sequence[str]) -> None:
    """DataError for a class name that is no text, as a folder's may be whose bytes are in another encoding."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = name.encode(errors="backslashreplace").decode()
            raise DataError(
                f'class name "{shown}" is no UTF-8 text: rename its folder, or name the class with --classes'
            ) from None


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
    """Training pictures per class as asked for, if there are so many of any class; else, and with all, their mean."""
    if split.shots and split.shots <= per_class(split.train)[1]:
        return split.shots
    return max(1, round(len(split.train) / max(1, len({i.label for i in split.train}))))


def settled(
    dataset: Dataset, split: Split, backbone: Backbone, plan: Plan, chosen: Chosen, info: RunInfo
) -> tuple[Plan, Method, TrainOptions, RunInfo]:
    """The plan that auto chose, and `prepare` for it; the run stays known as one whose method was left to be chosen."""
    train = replace(chosen.train, **plan.train.given())
    named = Plan(chosen.method, chosen.options, train, tuple(info.zero_shot_templates))
    method, options, found = prepare(dataset, split, backbone, named)
    found.settings, found.notices, found.choice = info.settings, info.notices, chosen.record
    found.data.contents = info.data.contents
    return named, method, options, found


def settings_hash(info: RunInfo, method: str, options: TrainOptions, split: Split, device: str) -> str:
    """What tells runs of different settings apart: everything that the resulting numbers depend on."""
    held = info.to_json() | {"method": method}
    known = {key: held[key] for key in DECISIVE} | {"train": options.decisive()}
    left_out = ("skipped", "contents", "origin", "seal", "per_class")
    known["data"] = {key: value for key, value in held["data"].items() if key not in left_out}
    if info.after is not None:
        known["after"] = info.after
    drawn = [[(item.path, item.label) for item in items] for items in (split.train, split.val, split.test)]
    text = json.dumps([known, drawn, device], ensure_ascii=False)
    return hashlib.sha256(text.encode(errors=ESCAPED)).hexdigest()[:16]
