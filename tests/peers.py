"""Imports of the packages that vlprompt is compared with."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from typing import Any

import pytest

HIDDEN = ("transformers", "timm")  # optional for open_clip; both would look for torchvision
STOOD_IN = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.ops",
    "torchvision.ops.misc",
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
        before = {name: sys.modules.get(name) for name in (*HIDDEN, *STOOD_IN)}
        for name in STOOD_IN:
            module = _StandIn(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
            sys.modules[name] = module
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, module)
        for name in HIDDEN:
            sys.modules[name] = None  # type: ignore[assignment]  # makes `import` fail
        try:
            import open_clip
        except ImportError as error:
            pytest.skip(f"open_clip is not installed: {error}")
        finally:
            for name, module in before.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module
    import open_clip.model

    return open_clip.model
