"""Fitting: from a folder of pictures to a saved run."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {"Plan": "plan", "fit": "learning", "learn": "learning", "make_plan": "plan", "Measure": "measuring"}

__all__ = ["Measure", "Plan", "fit", "learn", "make_plan"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"vlprompt.fitting.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
