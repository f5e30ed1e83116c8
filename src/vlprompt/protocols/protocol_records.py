"""What protocols share: opening data and backbone once, one folder per seed, mean and deviation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.spec import LOOSE, BackboneSpec, opened, with_loose
from vlprompt.data.dataset import Dataset
from vlprompt.data.opening import open_dataset
from vlprompt.errors import DataError, OptionError, nearest
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder
from vlprompt.fitting.plan import Plan, make_plan, recipe_of
from vlprompt.methods.base import Method
from vlprompt.runs.run import Run
from vlprompt.training.train_options import TrainOptions

_PLAN = ("options", "train", "recipe", "templates")
_SETUP = ("classes", *LOOSE)
_REST = ("cache", "resume", "overwrite", "on_record", "command")


def plan_and_rest(
    method: str | type[Method] | None, more: dict[str, Any]
) -> tuple[Plan, dict[str, Any], dict[str, Any]]:
    """Keyword arguments of `fit` as a plan, how to open data and backbone, and what `learn` takes."""
    for name in more:
        if name not in (*_PLAN, *_SETUP, *_REST):
            raise OptionError(f'no argument "{name}": {nearest(name, (*_PLAN, *_SETUP, *_REST))}')
    plan = make_plan(method, **{k: v for k, v in more.items() if k in _PLAN})
    setup = {k: more[k] for k in _SETUP if k in more}
    return plan, setup, {k: v for k, v in more.items() if k in _REST}


NEW_NAMES = (
    "base_to_new",
    "cross_dataset",
    "class_incremental",
)  # protocols that bring classes after the training


def obstacle(protocol: str, plan: Plan) -> str | None:
    """Why a method takes no part in a protocol, in one line, as far as it is known before anything is trained."""
    spec = methods.load(plan.method)
    if protocol not in NEW_NAMES or spec.base.takes_new_names(spec.options(plan.options)[0]):
        return None
    kind = "further" if protocol == "class_incremental" else "new"
    return f"{plan.method}: not under {protocol}, because it knows only the classes it was trained on and takes no {kind} classes"


def open_both(
    data: str | Path | Dataset, backbone: str | Path | BackboneSpec | Backbone, setup: dict[str, Any]
) -> tuple[Dataset, Backbone]:
    dataset = data if isinstance(data, Dataset) else open_dataset(data, classes=setup.get("classes"))
    loose = {name: setup[name] for name in LOOSE if name in setup}
    return dataset, opened(with_loose(backbone, loose, "protocols"))


def test_needed(dataset: Dataset) -> None:
    if not dataset.splits.get("test"):
        raise DataError(f"{dataset.name}: a protocol needs test pictures, and there are none")


def encoder_for(dataset: Dataset, backbone: Backbone, method: Method, rest: dict[str, Any]) -> Encoder:
    """Reads further test pictures for a method, with the cache and records that `learn` was given."""
    cache = rest.get("cache", True)
    return Encoder(
        dataset,
        backbone,
        cache=FeatureCache(None if cache else False) if isinstance(cache, bool) else cache,
        budget=method.interpreter.budget,
        emit=rest.get("on_record") or (lambda record: None),
    )


def run_folder(out: str | Path | None, seed: int) -> Path | None:
    return None if out is None else Path(out) / f"seed{seed}"


# what every record holds, so that nothing else can have these names
RECORD = (
    "protocol",
    "data",
    "method",
    "backbone",
    "shots",
    "seed",
    "seconds",
    "total_seconds",
    "folder",
    "split",
    "target_splits",
    "settings",
)


def base_record(
    protocol: str,
    dataset: Dataset,
    backbone: Backbone,
    plan: Plan,
    shots: int,
    seed: int,
    run: Run,
    targets: Mapping[str, Dataset] | None = None,
    own: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the values of a record belong to. seconds: of training; total_seconds: encoding and scoring too.

    split, target_splits: whose splits these are, see `Dataset.split_kind`. settings: see `settings_of`. own: the
    protocol's arguments that the values depend on, None for those that were not given.
    """
    held = (
        {}
        if targets is None
        else {"target_splits": {name: target.split_kind for name, target in targets.items()}}
    )
    return {
        "protocol": protocol,
        "data": dataset.name,
        "method": plan.method,
        "backbone": backbone.name,
        "shots": shots,
        "seed": seed,
        "seconds": run.info.timings["train_s"],
        "total_seconds": run.info.timings["total_s"],
        "folder": str(run.folder) if run.folder else None,
        "split": dataset.split_kind,
        **held,
        "settings": settings_of(plan, run, own or {}),
    }


def settings_of(plan: Plan, run: Run, own: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What differs from the method's own defaults: its options, train, and setup, which zero-shot depends on too."""
    method = run.learned
    usual = {
        key: value for part in methods.load(plan.method).options({}) for key, value in asdict(part).items()
    }
    options = {key: value for key, value in run.info.options.items() if value != usual.get(key)}
    given, default = (
        train.resolved(recipe_of(method), method.needs) for train in (plan.train, TrainOptions())
    )
    train: dict[str, Any] = {}
    if method.learns and method.trains:
        known = default.decisive()
        train = {
            key: value for key, value in given.decisive().items() if value != known[key] and key != "memory"
        }
    elif method.learns and given.view_count() != default.view_count():  # all that the loop's options do to it
        train = {"views": given.view_count()}
    precision = run.info.backbone.precision
    setup = {
        "precision": None if precision == "float32" else precision,
        "tokenizer": run.info.backbone.tokenizer,
        "templates": list(plan.templates) or None,
        **own,
    }
    setup = {key: value for key, value in setup.items() if value is not None}
    return {name: part for name, part in (("options", options), ("train", train), ("setup", setup)) if part}


def summary(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation of every number in records of several seeds: {"accuracy": {"mean",
    "std", "n"}}. Nested values are named with a dot ("zero_shot.base")."""
    columns: dict[str, list[float]] = {}
    for record in records:
        flat = dict(record)
        for key, value in record.items():
            if isinstance(value, dict):
                flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        for key, value in flat.items():
            if (
                isinstance(value, (int, float))
                and not isinstance(value, bool)
                and key not in ("seed", "shots")
            ):
                columns.setdefault(key, []).append(float(value))
    found = {}
    for key, values in columns.items():
        mean = math.fsum(values) / len(values)
        spread = math.fsum((v - mean) ** 2 for v in values)
        found[key] = {"mean": mean, "std": math.sqrt(spread / max(1, len(values) - 1)), "n": len(values)}
    return found
