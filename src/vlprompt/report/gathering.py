"""Records of single seeds put together: mean and deviation, and averages over data sets as papers make them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vlprompt.protocols import harmonic_values
from vlprompt.protocols.protocol_facts import harmonic_mean

ZERO_SHOT = "zero-shot"
Seeds = dict[Any, dict[str, float]]  # values by name, by seed
LONGEST = 30  # letters of a setting in a table
_OF_DATA = ("targets", "target_templates", "templates", "source")  # settings that belong to a data set anyway
_REFERENCE = "zero_shot_name"
_HIDDEN = ("seed", "shots", "count", "total_seconds", "zero_shot")


@dataclass(frozen=True)
class Cell:
    """Mean and sample deviation of a value over n seeds; std is 0 for one."""

    mean: float
    std: float
    n: int

    def text(self, plus_minus: str = " ± ", digits: int = 2) -> str:
        if self.n < 2:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f}{plus_minus}{self.std:.{digits}f}"


class Key(NamedTuple):
    """What the seeds of one row share."""

    protocol: str
    data: str
    backbone: str
    shots: int
    method: str


def told_apart(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records, in which a method (and zero-shot) that has runs of several settings in one place bears what differs
    behind its name: `coop (epochs 30, lr 0.5)`; `plain_name` takes it off.

    Records that do not say their settings are of the one that is known, if there is only one. What is told apart
    already stays as it is.
    """
    held = [{_REFERENCE: ZERO_SHOT, **record} for record in records]
    for key, parts in (("method", ("options", "train", "setup")), (_REFERENCE, ("setup",))):
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for record in held:
            groups.setdefault((record["protocol"], record[key]), []).append(record)
        for group in groups.values():
            _tell_apart(group, key, parts)
    return held


def of_one_data(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records, in which data sets of one name that are not the same pictures bear what tells them apart.

    Those of other places bear their place, `photos (holiday/photos)`; of one place whose pictures have changed, a part of
    their fingerprint. Records of earlier versions, which do not say, stay as they are.
    """
    held = [dict(record) for record in records]
    known: dict[str, dict[str, str]] = {}  # fingerprint -> place, by name
    for record in held:
        if record.get("fingerprint"):
            known.setdefault(record.get("data", ""), {})[str(record["fingerprint"])] = str(
                record.get("place", "")
            )
    for record in held:
        places = known.get(record.get("data", ""), {})
        own = record.get("fingerprint")
        if own is None or len(places) < 2:
            continue
        place = places[str(own)]
        alone = place and list(places.values()).count(place) == 1
        record["data"] = f"{record['data']} ({place if alone else str(own)[:6]})"
    return held


def _tell_apart(group: list[dict[str, Any]], key: str, parts: Sequence[str]) -> None:
    settings = [_settings(record, parts) for record in group]
    places: dict[tuple[Any, ...], list[dict[str, str]]] = {}
    for record, own in zip(group, settings, strict=True):
        if own is not None:
            places.setdefault(place_of(record), []).append(own)
    differs = sorted({key for held in places.values() for key in differing(held)})
    if not differs:
        return
    for record, own in zip(group, settings, strict=True):
        said = "settings not recorded" if own is None else shown(own, differs)
        record[key] += f" ({said})" if said else ""


def place_of(record: Mapping[str, Any]) -> tuple[str, str, str, int]:
    """Protocol, data, backbone and shots: what the methods of a comparison share."""
    return (record["protocol"], record.get("data", ""), record.get("backbone", ""), record.get("shots", 0))


def _settings(
    record: Mapping[str, Any], parts: Sequence[str] = ("options", "train", "setup")
) -> dict[str, str] | None:
    """What a record says of its settings, as text by name; None if it says nothing."""
    held = record.get("settings")
    if not isinstance(held, dict):
        return None
    flat = {
        key: value for part in parts if isinstance(held.get(part), dict) for key, value in held[part].items()
    }
    return {key: _text(flat[key]) for key in sorted(flat)}


def _text(value: Any) -> str:
    """Short enough for a table; of what had to be cut, a hash tells one from another."""
    text = (
        f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    )
    return (
        text if len(text) <= LONGEST else f"{text[:LONGEST]}… {hashlib.sha256(text.encode()).hexdigest()[:4]}"
    )


def differing(settings: Iterable[Mapping[str, str]]) -> list[str]:
    """The names of settings that are not the same in all."""
    held = list(settings)
    return sorted({key for one in held for key in one if any(other.get(key) != one[key] for other in held)})


def shown(settings: Mapping[str, str], keys: Sequence[str]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {settings[key]}" for key in keys if key in settings)


def mixed(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines that name the methods, as `told_apart` does, whose rows of a table are not all of the same settings."""
    groups: dict[str, list[dict[str, str]]] = {}
    for record in records:
        own = _settings(record)
        if own is not None:
            groups.setdefault(record["method"], []).append(own)
    methods: dict[tuple[str, ...], list[str]] = {}
    for method, held in groups.items():
        if keys := tuple(key for key in differing(held) if key not in _OF_DATA):
            methods.setdefault(keys, []).append(method)
    return [
        f"{', '.join(named)}: runs at other shots or on other data have other settings ({', '.join(keys).replace('_', ' ')})"
        for keys, named in methods.items()
    ]


def plain_name(method: str) -> str:
    """A method's own name, without the settings that `told_apart` puts behind it."""
    return method.partition(" (")[0]


def gather(records: Iterable[Mapping[str, Any]]) -> dict[Key, Seeds]:
    """The numbers of every seed; zero-shot stands before the methods it is the reference of.

    Runs of several settings are told apart. A seed recorded twice counts once, the later record being taken.
    """
    groups: dict[tuple[Any, ...], dict[str, Seeds]] = {}
    for record in told_apart(of_one_data(records)):
        methods = groups.setdefault(place_of(record), {})
        reference = record.get("zero_shot")
        if isinstance(reference, (int, float)):
            reference = {"accuracy": reference}
        seed = record.get("seed")
        if isinstance(reference, dict):
            methods.setdefault(record[_REFERENCE], {})[seed] = _numbers(reference)
        if plain_name(record["method"]) != "zeroshot" or reference is None:
            methods.setdefault(record["method"], {})[seed] = _numbers(record)
    return {
        Key(protocol, data, backbone, shots, method): seeds
        for (protocol, data, backbone, shots), methods in groups.items()
        for method, seeds in methods.items()
    }


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in record.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and key not in _HIDDEN
    }


def cells(seeds: Seeds) -> dict[str, Cell]:
    """Mean and deviation of every value. The harmonic mean is that of the mean base and mean new accuracy."""
    found = {}
    for key in dict.fromkeys(key for values in seeds.values() for key in values):
        values = [one[key] for one in seeds.values() if key in one]
        mean = sum(values) / len(values)
        spread = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
        found[key] = Cell(mean, spread**0.5, len(values))
    for name, (one, other) in harmonic_values().items():
        if {name, one, other} <= set(found):
            own = found[name]
            found[name] = Cell(harmonic_mean(found[one].mean, found[other].mean), own.std, own.n)
    return found


def average(parts: Sequence[Seeds]) -> Seeds:
    """One method's values averaged over data sets, seed by seed; of the seeds and values that all of them have.

    The harmonic mean is that of the averages, as in the papers, not the average of harmonic means.
    """
    shared = [seed for seed in parts[0] if all(seed in part for part in parts)]
    found: Seeds = {}
    for seed in shared:
        rows = [part[seed] for part in parts]
        keys = [key for key in rows[0] if all(key in row for row in rows)]
        values = {key: sum(row[key] for row in rows) / len(rows) for key in keys}
        for name, (one, other) in harmonic_values().items():
            if {name, one, other} <= set(values):
                values[name] = harmonic_mean(values[one], values[other])
        found[seed] = values
    return found
