"""Keyword arguments that `fit` had before they became parts of a Plan, a BackboneSpec or a Measure: they still work, with
a warning, for one more release."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

from vlprompt.backbones.spec import LOOSE, with_loose
from vlprompt.data.dataset import Dataset
from vlprompt.data.opening import open_dataset
from vlprompt.fitting.measuring import Measure
from vlprompt.fitting.notices import OnRecord
from vlprompt.fitting.plan import make_plan

INSTEAD = {
    "recipe": "method=make_plan(recipe=...)",
    "templates": "method=make_plan(..., templates=...)",
    "classes": "data=open_dataset(..., classes=...)",
    "calibrate": "measure=Measure(calibrate=...)",
    "on_record": "progress=the function",
}


@dataclass(frozen=True)
class Modern:
    """The arguments of today that older ones stand for."""

    data: Any
    method: Any
    backbone: Any
    measure: Measure
    on_record: OnRecord | None = None


def modern(
    older: dict[str, Any], data: Any, method: Any, backbone: Any, measure: Measure, plan: dict[str, Any]
) -> Modern:
    """plan: options and train as given. TypeError for an argument that there never was."""
    for name in older:
        if name not in (*INSTEAD, *LOOSE):
            raise TypeError(f"fit() got an unexpected keyword argument {name!r}")
    backbone = with_loose(backbone, {n: older[n] for n in LOOSE if n in older}, "fit")
    for name in (name for name in older if name in INSTEAD):
        warnings.warn(
            f"fit({name}=...) is deprecated: give {INSTEAD[name]}", DeprecationWarning, stacklevel=4
        )
    if older.get("recipe") is not None or older.get("templates"):
        method = make_plan(method, **plan, recipe=older.get("recipe"), templates=older.get("templates"))
    if older.get("classes") is not None and not isinstance(data, Dataset):
        data = open_dataset(data, classes=older["classes"])
    if "calibrate" in older:
        measure = replace(measure, calibrate=older["calibrate"])
    return Modern(data, method, backbone, measure, older.get("on_record"))
