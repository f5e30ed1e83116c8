"""What protocols write: the facts of a record beside its values; mean and deviation over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlprompt.backbones.backbone import Backbone
    from vlprompt.data.dataset import Dataset
    from vlprompt.fitting.plan import Plan
    from vlprompt.runs.run import Run


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
        "fingerprint": dataset.fingerprint,
        "place": place_of(dataset),
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


def place_of(dataset: Dataset) -> str:
    """What tells a data set from others of its name: the last two parts of its path; "" of one without a place."""
    parts = Path(str((dataset.origin or {}).get("path", ""))).parts
    return "/".join(parts[-2:])


def settings_of(plan: Plan, run: Run, own: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What differs from the method's own defaults: its options, train, and setup, which zero-shot depends on too."""
    from vlprompt.training.train_options import TrainOptions

    method = run.learned
    options: dict[str, Any] = {}
    if run.info.choice is None:  # a choice is what the pictures gave, and no setting
        usual = {key: value for part in plan.spec.options({}) for key, value in asdict(part).items()}
        options = {key: value for key, value in run.info.options.items() if value != usual.get(key)}
    given, default = (
        train.resolved(method.facts.recipe, method.facts.needs) for train in (plan.train, TrainOptions())
    )
    train: dict[str, Any] = {}
    if method.facts.takes_steps:
        known = default.decisive()
        train = {
            key: value
            for key, value in given.decisive().items()
            if value != known.get(key) and key != "memory"
        }
    elif (
        method.facts.learns and given.view_count() != default.view_count()
    ):  # all that the loop's options do to it
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
