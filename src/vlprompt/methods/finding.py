"""Methods by name: name -> class, and the class with its options -> method.

`load("coop+lamm")`: the file name is the method's name, and a wrapper's name behind a plus sign goes on top of a method
whose prompts hold names. A file with several methods names each in its `FACTS` and `METHODS`. A dotted path
(`my_package.my_method`, or `my_package.my_method+lamm`) loads someone else's file by the same rule: a module that ends
in `METHOD = TheClass`, or the class in it (`my_package.my_method.TheClass`). In Python the class itself will do:
`fit(..., method=TheClass)`.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlprompt.errors import OptionError, nearest
from vlprompt.methods.facts import Facts, read_facts

if TYPE_CHECKING:
    import torch

    from vlprompt.backbones.backbone import Backbone
    from vlprompt.data.task import Task
    from vlprompt.methods.base import Method
    from vlprompt.options import OptionSet

_PACKAGE = "vlprompt.methods"


@lru_cache(maxsize=1)
def _files() -> dict[str, tuple[str, Facts]]:
    """Plain method names -> file and facts, in the order of lists."""
    folder = Path(__file__).parent
    found = {
        name: (module.name, facts)
        for module in pkgutil.iter_modules([str(folder)])
        for name, facts in read_facts(folder / f"{module.name}.py", module.name).items()
    }
    return dict(sorted(found.items(), key=lambda entry: (entry[1][1].order, entry[0])))


def plain_names() -> list[str]:
    """The built-in methods that are files, wrappers among them."""
    return list(_files())


def wrapper_names() -> list[str]:
    return [name for name, (_, facts) in _files().items() if facts.wraps]


def names() -> list[str]:
    """All built-in methods, and every wrapper on top of each whose prompts hold names."""
    files = _files()
    return [
        *files,
        *(
            f"{name}+{wrapper}"
            for wrapper in wrapper_names()
            for name, (_, facts) in files.items()
            if facts.prompts_hold_names and not facts.wraps
        ),
    ]


def facts_of(name: str) -> Facts | None:
    """What is known of a built-in method, `coop+lamm` too, without importing it; None for a name that is not built in."""
    files = _files()
    if name in files:
        facts = files[name][1]
        return dataclasses.replace(facts, wraps=False) if facts.wraps else facts
    base, _, last = name.rpartition("+")
    below = facts_of(base) if base else None
    if below is None or last not in wrapper_names() or not below.prompts_hold_names:
        return None
    return below.under(files[last][1])


def known_facts(name: str) -> Facts:
    """The same; OptionError for a name that is not built in."""
    found = facts_of(name)
    if found is None:
        raise OptionError(f'no method "{name}": {nearest(name, names())}')
    return found


def without_wrappers(name: str) -> str:
    """`coop` of `coop+lamm`, `lamm` of `lamm`."""
    base, _, last = name.rpartition("+")
    return base if base and last in wrapper_names() and name not in _files() else name


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
    if name not in _files():
        raise OptionError(f'no method "{name}": {nearest(name, names())}')
    module = importlib.import_module(f"{_PACKAGE}.{_files()[name][0]}")
    return module.METHODS[name] if hasattr(module, "METHODS") else module.METHOD


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
    """A method, perhaps with a wrapper around it: reads its options from flat names and builds it."""

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

    @property
    def facts(self) -> Facts:
        """What is known of the method with the options that are not given."""
        return self.facts_with({})

    def facts_with(self, values: dict[str, Any]) -> Facts:
        """What is known of the method with these options."""
        sets = self.options(values)
        facts = self.base.facts_of(sets[0])
        return facts if self.wrapper is None else facts.under(self.wrapper.facts_of(sets[1]))

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
    """`zeroshot`, `coop`, `lamm`, `maple+lamm`, `my_package.my_method`, ..., or a class of one's own.

    OptionError for a name that is not known, and for a wrapper around a method whose prompts hold no names.
    """
    name = name_of(method)
    short = name.strip().lower() if "." not in name else name.strip()
    base, _, last = short.rpartition("+")
    if short in _files() or last not in wrapper_names() or not base:
        kind = method_class(short)
        return MethodSpec(name, kind.alone or kind, kind if kind.alone else None)
    below = load(base)
    if not below.facts.prompts_hold_names:
        raise OptionError(
            f'no method "{name}": the prompts of {below.facts.title} hold no class names that {last} could '
            f"learn. {nearest(base, names())}"
        )
    return MethodSpec(name, below.base, method_class(last))
