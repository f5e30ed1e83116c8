"""Methods by name: `load("coop+lamm")`. The file name is the method's name; `+lamm` wraps any with prompts.

The two parts of one paper share a file: `ctp`, `tft` and `ctp+tft` are in `mutual.py`.
A dotted path (`my_package.my_method`, or `my_package.my_method+lamm`) loads someone else's file by
the same rule: a module that ends in `METHOD = TheClass`, or the class in it (`my_package.my_method.TheClass`).
In Python the class itself will do: `fit(..., method=TheClass)`.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlprompt.errors import OptionError, nearest

if TYPE_CHECKING:
    import torch

    from vlprompt.backbones.backbone import Backbone
    from vlprompt.data.task import Task
    from vlprompt.methods.base import Method
    from vlprompt.options import OptionSet

WRAPPER = "lamm"
_NOT_METHODS = ("base", "mutual", "sessions", "softmax_regression")
_FILES = {"ctp": "mutual", "tft": "mutual", "ctp+tft": "mutual"}  # methods whose file has another name
_ORDER = (
    "zeroshot",
    "linear_probe",
    "tip_adapter",
    "tip_adapter_f",
    "blend",
    "coop",
    "cocoop",
    "proda",
    "vpt",
    "ivlp",
    "maple",
    "ctp",
    "tft",
    "ctp+tft",
    "lamm",
)
_NO_LABELS = (
    "zeroshot",
    "linear_probe",
    "tip_adapter",
    "tip_adapter_f",
    "blend",
    WRAPPER,
)  # nothing for LAMM to wrap


def names() -> list[str]:
    """All built-in methods, and LAMM on top of each that learns."""
    found = _plain_names()
    return found + [f"{name}+{WRAPPER}" for name in found if name not in _NO_LABELS]


def _plain_names() -> list[str]:
    files = [m.name for m in pkgutil.iter_modules(__path__) if m.name not in _NOT_METHODS]
    return sorted([*files, *_FILES], key=lambda n: (_ORDER.index(n) if n in _ORDER else len(_ORDER), n))


def name_of(method: str | type[Method]) -> str:
    """The name that `load` finds a method by: a name stays as it is, a class becomes its dotted path."""
    if isinstance(method, str):
        return method
    if not isinstance(method, type) or not hasattr(method, "for_classes"):
        raise OptionError(
            f"method is {method!r}: expected a name, or a subclass of vlprompt.methods.base.Method"
        )
    path = f"{method.__module__}.{method.__qualname__}"
    if "<locals>" in path:
        raise OptionError(
            f"method class {method.__name__} is defined inside a function: move it to the top level of a file, "
            "where a saved run finds it again"
        )
    return path


def method_class(name: str) -> type[Method]:
    """The class of one method file, by its name or dotted path."""
    if "." in name:
        return _from_path(name)
    if name not in _plain_names():
        raise OptionError(f'no method "{name}": {nearest(name, names())}')
    module = importlib.import_module(f"{__name__}.{_FILES.get(name, name)}")
    return module.METHODS[name] if name in _FILES else module.METHOD


def _from_path(path: str) -> type[Method]:
    """What a dotted path means: a module's METHOD, or a class in a module."""
    parent, _, last = path.rpartition(".")
    try:
        module = importlib.import_module(path)
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError) or error.name != path:  # the file is there and fails
            raise OptionError(f'method "{path}" cannot be imported: {error}') from error
        found = getattr(importlib.import_module(parent), last, None)
        if found is None:
            raise OptionError(f'method "{path}" cannot be imported: {parent} has no {last}') from error
        return _checked(found, path)
    if not hasattr(module, "METHOD"):
        raise OptionError(f'method file "{path}" has no METHOD: end it with METHOD = YourClass')
    return _checked(module.METHOD, path)


def _checked(found: Any, path: str) -> type[Method]:
    from vlprompt.methods.base import Method

    if not (isinstance(found, type) and issubclass(found, Method)):
        raise OptionError(f'method "{path}" is no subclass of vlprompt.methods.base.Method')
    return found


@dataclass(frozen=True)
class MethodSpec:
    """A method, perhaps wrapped by LAMM: reads its options from flat names and builds it."""

    name: str
    base: type[Method]
    wrapper: type[Method] | None = None

    @property
    def kinds(self) -> list[type[OptionSet]]:
        """The option dataclasses, the wrapped method's first."""
        return [c.Options for c in (self.base, self.wrapper) if c is not None]

    @property
    def outermost(self) -> type[Method]:
        return self.wrapper or self.base

    def options(self, values: dict[str, Any] | None = None) -> list[OptionSet]:
        """Option sets from names and values; OptionError names what is unknown or out of range."""
        left = dict(values or {})
        sets = []
        for kind in self.kinds:
            own = {f.name for f in dataclasses.fields(kind)}
            sets.append(kind(**{k: left.pop(k) for k in list(left) if k in own}))
        if left:
            known = [f.name for kind in self.kinds for f in dataclasses.fields(kind)]
            name = next(iter(left))
            raise OptionError(f'method "{self.name}" has no option "{name}": {nearest(name, known)}')
        return sets

    def build(
        self,
        backbone: Backbone,
        task: Task,
        options: dict[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> Method:
        """The method on a backbone for a task; generator: source of random initial values."""
        sets = self.options(options)
        base = self.base(backbone, task, sets[0], generator)
        if self.wrapper is None:
            return base
        return self.wrapper(backbone, task, sets[1], generator, base=base)  # type: ignore[call-arg]


def load(method: str | type[Method]) -> MethodSpec:
    """`zeroshot`, `coop`, `lamm`, `maple+lamm`, `my_package.my_method`, ..., or a class of one's own."""
    name = name_of(method)
    short = name.strip().lower() if "." not in name else name.strip()
    base, _, last = short.rpartition("+")
    if last == WRAPPER and base not in ("", *_NO_LABELS) and not base.endswith(f"+{WRAPPER}"):
        return MethodSpec(name, method_class(base), method_class(WRAPPER))
    if "." not in short and short not in _plain_names():
        raise OptionError(f'no method "{name}": {nearest(name, names())}')
    return MethodSpec(name, method_class(short))
