"""Fitting: from a folder of pictures to a saved run."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["Plan", "fit", "learn", "make_plan"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("vlprompt.fitting.learning"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
