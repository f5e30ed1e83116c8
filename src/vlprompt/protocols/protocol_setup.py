"""What protocols share before and between trainings: plan, data and backbone opened once, one folder per seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlprompt.backbones.spec import LOOSE, BackboneSpec, with_loose
from vlprompt.data.dataset import Dataset
from vlprompt.data.opening import open_dataset
from vlprompt.errors import DataError, OptionError, nearest
from vlprompt.protocols import facts_of

if TYPE_CHECKING:
    from vlprompt.backbones.backbone import Backbone
    from vlprompt.feeding.inputs import Encoder
    from vlprompt.fitting.plan import Plan
    from vlprompt.methods.base import Method

DEFAULT_METHOD = "coop+lamm"  # a protocol compares named methods; `fit` chooses where none is named
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
    from vlprompt.fitting.plan import make_plan

    if method is None and more.get("recipe") is None:
        method = DEFAULT_METHOD
    plan = make_plan(method, **{k: v for k, v in more.items() if k in _PLAN})
    setup = {k: more[k] for k in _SETUP if k in more}
    return plan, setup, {k: v for k, v in more.items() if k in _REST}


def obstacle(protocol: str, plan: Plan) -> str | None:
    """Why a method takes no part in a protocol, in one line, as far as it is known before anything is trained."""
    spec = plan.spec
    kind = facts_of(protocol).new_classes
    facts = spec.facts_with(plan.options)
    if not kind or (facts.takes_further_classes if kind == "further" else facts.takes_new_names):
        return None
    return f"{plan.method}: not under {protocol}, because it knows only the classes it was trained on and takes no {kind} classes"


def open_both(
    data: str | Path | Dataset, backbone: str | Path | BackboneSpec | Backbone, setup: dict[str, Any]
) -> tuple[Dataset, Backbone]:
    """Data set and backbone, opened unless they are; setup: how, as `plan_and_rest` gives it."""
    from vlprompt.backbones.loading import opened

    dataset = data if isinstance(data, Dataset) else open_dataset(data, classes=setup.get("classes"))

    loose = {name: setup[name] for name in LOOSE if name in setup}
    return dataset, opened(with_loose(backbone, loose, "protocols"))


def test_needed(dataset: Dataset) -> None:
    if not dataset.splits.get("test"):
        raise DataError(f"{dataset.name}: a protocol needs test pictures, and there are none")


def encoder_for(dataset: Dataset, backbone: Backbone, method: Method, rest: dict[str, Any]) -> Encoder:
    """Reads further test pictures for a method, with the cache and records that `learn` was given."""
    from vlprompt.feeding.feature_cache import FeatureCache
    from vlprompt.feeding.inputs import Encoder

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
