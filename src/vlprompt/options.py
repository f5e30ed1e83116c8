"""Options: dataclass fields declared once, read by Python, command line, forms and tables.

@dataclass(frozen=True)
class Options(OptionSet):
    context_tokens: int = option(16, "learned tokens before the class name", low=1)
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from vlprompt.errors import OptionError, nearest

T = TypeVar("T", bound="OptionSet")


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """A dataclass field with its help text and its limits (both ends allowed)."""
    return dataclasses.field(
        default=default, metadata={"help": help, "low": low, "high": high, "choices": choices}
    )


@dataclass(frozen=True)
class OptionSet:
    """Base of all option dataclasses; checks limits, choices and types when built."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = check(field, hints[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)


def check(field: dataclasses.Field[Any], kind: Any, value: Any) -> Any:
    """The value in the field's type, or OptionError that names field, value and limits."""
    name, meta = field.name, field.metadata
    if kind is bool:
        if not isinstance(value, bool):
            raise OptionError(f"{name} is {value!r}: expected true or false")
    elif kind is int:
        whole = isinstance(value, int) or (
            isinstance(value, float) and math.isfinite(value) and value.is_integer()
        )
        if isinstance(value, bool) or not whole:
            raise OptionError(f"{name} is {value!r}: expected a whole number")
        value = int(value)
    elif kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise OptionError(f"{name} is {value!r}: expected a number")
        try:
            value = float(value)
        except OverflowError:
            raise OptionError(f"{name} is {str(value)[:20]}...: expected a smaller number") from None
        if not math.isfinite(value):
            raise OptionError(f"{name} is {value}: expected a number")
    elif kind is str and not isinstance(value, str):
        raise OptionError(f"{name} is {value!r}: expected text")
    low, high, choices = meta.get("low"), meta.get("high"), meta.get("choices")
    if low is not None and not value >= low:
        raise OptionError(f"{name} is {value}: expected at least {low}")
    if high is not None and not value <= high:
        raise OptionError(f"{name} is {value}: expected at most {high}")
    if choices is not None and value not in choices:
        raise OptionError(f"{name} is {value!r}: {nearest(str(value), map(str, choices))}")
    return value


def parse(kind: Any, name: str, text: str) -> Any:
    """A value of the field's type from the text of a command line or form."""
    if kind is bool:
        word = text.strip().lower()
        if word in ("1", "true", "yes", "on"):
            return True
        if word in ("0", "false", "no", "off"):
            return False
        raise OptionError(f"{name} is {text!r}: expected true or false")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise OptionError(f"{name} is {text!r}: expected a number") from None
    return text


def field_table(kind: type[OptionSet]) -> list[dict[str, Any]]:
    """Name, type, default, help and limits of every option, for forms, help texts and docs."""
    hints = get_type_hints(kind)
    return [
        {"name": f.name, "type": hints[f.name], "default": f.default, **f.metadata}
        for f in dataclasses.fields(kind)
    ]


def build(kind: type[T], values: dict[str, Any], *, owner: str = "") -> T:
    """An option set from names and values; an unknown name offers the nearest known one."""
    known = {f.name for f in dataclasses.fields(kind)}
    for name in values:
        if name not in known:
            where = f" of {owner}" if owner else ""
            raise OptionError(f'no option "{name}"{where}: {nearest(name, known)}')
    return kind(**values)
