"""Records of single seeds put together: mean and deviation, and averages over data sets as papers make them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

ZERO_SHOT = "zero-shot"
Seeds = dict[Any, dict[str, float]]  # values by name, by seed
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


def gather(records: Iterable[Mapping[str, Any]]) -> dict[Key, Seeds]:
    """The numbers of every seed; zero-shot stands before the methods it is the reference of.

    A seed recorded twice counts once, the later record being taken.
    """
    groups: dict[tuple[Any, ...], dict[str, Seeds]] = {}
    for record in records:
        place = (record["protocol"], record.get("data", ""), record.get("backbone", ""), record.get("shots", 0))
        methods = groups.setdefault(place, {})
        reference = record.get("zero_shot")
        if isinstance(reference, (int, float)):
            reference = {"accuracy": reference}
        seed = record.get("seed")
        if isinstance(reference, dict):
            methods.setdefault(ZERO_SHOT, {})[seed] = _numbers(reference)
        if record["method"] != "zeroshot" or reference is None:
            methods.setdefault(record["method"], {})[seed] = _numbers(record)
    return {
        Key(protocol, data, backbone, shots, method): seeds
        for (protocol, data, backbone, shots), methods in groups.items() for method, seeds in methods.items()
    }  # fmt: skip


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value) for key, value in record.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and key not in _HIDDEN
    }  # fmt: skip


def cells(seeds: Seeds) -> dict[str, Cell]:
    """Mean and deviation of every value. The harmonic mean is that of the mean base and mean new accuracy."""
    found = {}
    for key in dict.fromkeys(key for values in seeds.values() for key in values):
        values = [one[key] for one in seeds.values() if key in one]
        mean = sum(values) / len(values)
        spread = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
        found[key] = Cell(mean, spread**0.5, len(values))
    if {"base", "new", "harmonic_mean"} <= set(found):
        own = found["harmonic_mean"]
        found["harmonic_mean"] = Cell(harmonic_mean(found["base"].mean, found["new"].mean), own.std, own.n)
    return found


def harmonic_mean(base: float, new: float) -> float:
    """2 b n / (b + n); 0 if both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


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
        if {"base", "new", "harmonic_mean"} <= set(values):
            values["harmonic_mean"] = harmonic_mean(values["base"], values["new"])
        found[seed] = values
    return found
