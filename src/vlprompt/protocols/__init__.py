"""Protocols: methods under the same conditions, as papers compare them. One file each, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from vlprompt.errors import OptionError, nearest

if TYPE_CHECKING:
    from vlprompt.protocols.protocol_facts import ProtocolFacts, Value

SHARED = "protocol_"  # files that begin with it are no protocols


@cache
def names() -> list[str]:
    """Every protocol, in alphabetical order."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith(SHARED))


def facts_of(name: str) -> ProtocolFacts:
    """What the protocol declares of itself; OptionError offers the nearest name. `few-shot` is `few_shot`."""
    wanted = name.replace("-", "_")
    if wanted not in names():
        raise OptionError(f'no protocol "{name}": {nearest(wanted, names())}')
    found: ProtocolFacts = importlib.import_module(f"{__name__}.{wanted}").FACTS
    return found


def all_facts() -> dict[str, ProtocolFacts]:
    """The facts of every protocol by its name: few shots first, those with targets last."""
    found = {name: facts_of(name) for name in names()}
    return dict(
        sorted(found.items(), key=lambda pair: (not pair[1].over_shots, pair[1].has_targets, pair[0]))
    )


def declared(name: str) -> ProtocolFacts:
    """The facts of a protocol that records name; of one that is not known here, the little that is safe to say."""
    from vlprompt.protocols.protocol_facts import ProtocolFacts, Value

    if name in names():
        return facts_of(name)
    return ProtocolFacts(
        name, name, "", (Value("average", "average", "on average"),), "average", averaged=False
    )


def harmonic_values() -> dict[str, tuple[str, str]]:
    """Values that are the harmonic mean of two others, and of which."""
    return {name: value.harmonic_of for name, value in known_values().items() if value.harmonic_of}


def known_values() -> dict[str, Value]:
    """The values of all protocols by name, in the order of their columns; what two share is the same in both."""
    return {value.name: value for facts in all_facts().values() for value in facts.values}


def find(name: str) -> Callable[..., Any]:
    """The protocol's function; each lies in a file of its name. OptionError offers the nearest name."""
    facts = facts_of(name)
    found: Callable[..., Any] = getattr(importlib.import_module(f"{__name__}.{facts.name}"), facts.name)
    return found
