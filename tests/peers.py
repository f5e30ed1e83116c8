"""Imports of the packages that vlprompt is compared with."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

HIDDEN = ("transformers", "timm")  # optional for open_clip; both would look for torchvision
STOOD_IN = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.datasets",
    "torchvision.models",
    "torchvision.models.feature_extraction",
)


class _AnyName(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyName(name, (), {})


class _StandIn(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyName(name, (), {})


def import_open_clip() -> Any:
    """open_clip's `model` module, or a skip.

    It imports torchvision for its training transforms, and the torchvision wheel does not import beside
    a CPU build of torch. Empty modules stand in for it, only while open_clip is imported.
    """
    if "open_clip" not in sys.modules:
        with without_torchvision(hidden=HIDDEN):
            try:
                import open_clip
            except ImportError as error:
                pytest.skip(f"open_clip is not installed: {error}")
    import open_clip.model

    return open_clip.model


def import_timm() -> Any:
    """timm, or a skip; with empty modules in place of torchvision, which it needs for its data alone."""
    if "timm" not in sys.modules:
        with without_torchvision():
            try:
                import timm
            except (ImportError, RuntimeError) as error:
                pytest.skip(f"timm does not import here: {error}")
    import timm
    import timm.layers

    return timm


@contextmanager
def without_torchvision(hidden: tuple[str, ...] = ()) -> Iterator[None]:
    """Empty modules in place of torchvision's for a while, and none at all for `hidden`."""
    before = {name: sys.modules.get(name) for name in (*hidden, *STOOD_IN)}
    for name in STOOD_IN:
        module = _StandIn(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import` fail
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
