"""Records as dataclasses: from JSON with every value checked, and back with nothing lost.

A field's type says what its value has to be; a value of another kind is a WrongField that names the field. What a
newer version wrote and this one does not know is kept in the record's `more` and written again.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

R = TypeVar("R", bound="Record")
MOST_NUMBER = 1 << 63
MOST_TOLD = 200  # letters of the place of a wrong value
OPTIONAL = {"optional": True}  # metadata of a field that is left out of the JSON where it is None


@dataclass(frozen=True)
class Range:
    """Least and largest value of a number."""

    low: float = -math.inf
    high: float = math.inf


NAME, PATH = "name", "path"
Name = Annotated[str, NAME]  # said to a tokenizer or a screen: whole characters only
LocalPath = Annotated[str, PATH]  # a path of this machine, whose bytes may be no UTF-8
Count = Annotated[int, Range(0)]
Percent = Annotated[float, Range(0, 100)]
Share = Annotated[float, Range(0, 1)]


class WrongField(ValueError):
    """A value that is not what its field is for. where: the field with a dot between levels.

    Names of fields are the file's own words, of any length and with line breaks: they are told on one line.
    """

    def __init__(self, where: str, text: str) -> None:
        told = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in where[:MOST_TOLD]
        )
        super().__init__(f"{told}{'...' if len(where) > MOST_TOLD else ''} {text}")


@dataclass
class Record:
    """Base of all records; subclasses declare fields, with defaults where older versions wrote none.

    more: what a newer version wrote and this one does not know.
    """

    more: dict[str, Any] = field(default_factory=dict, repr=False, kw_only=True)

    @classmethod
    def from_json(cls: type[R], value: Any, where: str = "it") -> R:
        """A record of checked values; WrongField."""
        if not isinstance(value, dict):
            raise WrongField(where, f"is {_kind(value)}: expected an object")
        hints, found, at = _hints(cast(Any, cls)), {}, "" if where == "it" else f"{where}."
        for one in dataclasses.fields(cls):
            if one.name == "more":
                continue
            if one.name in value:
                found[one.name] = checked(hints[one.name], value[one.name], at + one.name)
            elif _without_default(one):
                raise WrongField(at + one.name, "is missing")
        own = {one.name for one in dataclasses.fields(cls)} - {"more"}
        rest = {key: checked(Any, held, at + key) for key, held in value.items() if key not in own}
        made = cls(**found, more=rest)
        made.check(at)
        return made

    def check(self, at: str) -> None:
        """WrongField for values that do not go together. at: what stands before names of fields."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, in the order of the fields; those that mean nothing when empty are left out."""
        found = {}
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if one.name != "more" and not (value is None and one.metadata.get("optional")):
                found[one.name] = plain(value)
        return found | plain(self.more)


def checked(kind: Any, value: Any, where: str) -> Any:
    """The value in the form that the type asks for; WrongField."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return _any(value, where)
    if origin is Annotated:
        if inner[1] == NAME:
            return _name(value, where)
        if inner[1] == PATH:
            return _text(value, where)
        return _in_range(checked(inner[0], value, where), inner[1], where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        kinds = [one for one in inner if one is not type(None)]
        if len(kinds) == 1:
            return checked(kinds[0], value, where)
        for one in kinds:
            try:
                return checked(one, value, where)
            except WrongField:
                continue
        raise WrongField(where, f"is {_kind(value)}, which it cannot be")
    if origin is Literal:
        if value not in inner:
            raise WrongField(where, f"is {_said(str(value))[:40]!r}: expected {' or '.join(map(str, inner))}")
        return value
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise WrongField(where, f"is {_kind(value)}: expected a list")
        if origin is tuple and inner[-1] is not Ellipsis:
            if len(value) != len(inner):
                raise WrongField(where, f"holds {len(value)} values: expected {len(inner)}")
            return tuple(
                checked(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(inner, value, strict=True))
            )
        return origin(checked(inner[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise WrongField(where, f"is {_kind(value)}: expected an object")
        return {_said(key): checked(inner[1], v, f"{where}.{_said(key)}") for key, v in value.items()}
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.from_json(value, where)
    return _SIMPLE[kind](value, where)


def plain(value: Any) -> Any:
    """A record's value as JSON has it."""
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, dict):
        return {key: plain(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(held) for held in value]
    return value


def parse_json(data: bytes) -> Any:
    """JSON of finite numbers only; ValueError, or RecursionError where it is nested without end."""
    return json.loads(data.decode(), parse_constant=_not_finite, parse_float=_finite)


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} in it, which is no finite number")


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _not_finite(text)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise WrongField(where, f"is {_kind(value)}: expected text")
    return value


def _free(value: Any, where: str) -> str:
    return _said(_text(value, where))


def _said(text: str) -> str:
    """Text that can be shown: bytes of file names that are no UTF-8 are spelled out."""
    return text.encode(errors="backslashreplace").decode() if not text.isascii() else text


def _name(value: Any, where: str) -> str:
    text = _text(value, where)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise WrongField(where, f"holds half a character ({_said(text)[:40]}), which is no text") from None
    return text


def _integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongField(where, f"is {_kind(value)}: expected a whole number")
    if abs(value) >= MOST_NUMBER:
        raise WrongField(where, "is a number beyond all bounds")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongField(where, f"is {_kind(value)}: expected a number")
    if not abs(value) < 1e300 if isinstance(value, float) else abs(value) >= MOST_NUMBER:
        raise WrongField(where, "is no finite number")
    return float(value)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise WrongField(where, f"is {_kind(value)}: expected true or false")
    return value


def _any(value: Any, where: str) -> Any:
    """Any JSON value of finite numbers and whole texts."""
    if isinstance(value, str):
        return _said(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return _integer(value, where)
    if isinstance(value, float):
        return _number(value, where)
    if isinstance(value, (list, tuple)):
        return [_any(held, f"{where}[{i}]") for i, held in enumerate(value)]
    if isinstance(value, dict):
        return {_said(str(key)): _any(held, f"{where}.{_said(str(key))}") for key, held in value.items()}
    raise WrongField(where, f"is {_kind(value)}, which JSON does not know")


def _in_range(value: float, limits: Range, where: str) -> float:
    if not limits.low <= value <= limits.high:
        end = f"at least {limits.low:g}" if value < limits.low else f"at most {limits.high:g}"
        raise WrongField(where, f"is {value:g}: expected {end}")
    return value


_SIMPLE: dict[Any, Callable[[Any, str], Any]] = {str: _free, int: _integer, float: _number, bool: _flag}
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
}


def _kind(value: Any) -> str:
    return "empty" if value is None else _KINDS.get(type(value), f"a {type(value).__name__}")


@lru_cache(maxsize=64)
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _without_default(one: dataclasses.Field[Any]) -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
