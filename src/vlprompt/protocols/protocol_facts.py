"""What is known of a protocol without running it; tables, figures, sweeps and commands read it, and ask no names.

Files named `protocol_*.py` are what protocols share; every other file of this folder is a protocol, declares
`FACTS` and has a function of the file's name. Reading the facts imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# what every record holds, so that nothing else can have these names
RECORD = (
    "protocol",
    "data",
    "fingerprint",
    "place",
    "method",
    "backbone",
    "shots",
    "seed",
    "seconds",
    "total_seconds",
    "folder",
    "split",
    "target_splits",
    "settings",
)
HIGHER, LOWER, NEITHER = "higher", "lower", ""


@dataclass(frozen=True)
class Value:
    """A number of each record, in per cent unless said otherwise.

    heading: of a column. words: in a sentence. good: whether higher or lower values are better. gain: whether it is
    compared where methods are set against one. last: its column stands behind those of single targets and sessions.
    harmonic_of: the two values whose harmonic mean it is; it is then taken of their averages, as papers do.
    """

    name: str
    heading: str = ""
    words: str = ""
    good: str = HIGHER
    gain: bool = False
    last: bool = False
    harmonic_of: tuple[str, str] | None = None


@dataclass(frozen=True)
class Argument:
    """An argument that not every protocol has. expected: the kind of its value, in words (see `sweeps.sweep_file`).

    flag: on the command line, "" where it has none.
    """

    name: str
    expected: str
    flag: str = ""


@dataclass(frozen=True)
class ProtocolFacts:
    """title: as a heading. summary: what is trained and tested, as the end of "NAME ...".

    values: in the order of their columns. main: the one that says most. arguments: beside those of all protocols.
    averaged: tables average over data sets; else every record has an average of its own, over its targets.
    new_classes: what classes are called that come after the training, "" where there are none.
    usual_targets: what papers test on after learning on ImageNet. each_on_the_others: without targets, the data sets
    of a grid are tested on each other. part_of_data: trains on a part of the data set that it is given.
    over_shots: several numbers of shots make one figure. drawing: the figure that shows its results, "" for none.
    probe_beside: a linear probe is run unasked, for comparison.
    """

    name: str
    title: str
    summary: str
    values: tuple[Value, ...]
    main: str
    arguments: tuple[Argument, ...] = ()
    averaged: bool = True
    new_classes: str = ""
    usual_targets: tuple[str, ...] = ()
    each_on_the_others: bool = False
    part_of_data: bool = False
    over_shots: bool = False
    drawing: str = ""
    probe_beside: bool = False
    _by_name: Mapping[str, Value] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = {value.name: value for value in self.values}
        assert self.main in found and len(found) == len(self.values)
        object.__setattr__(self, "_by_name", MappingProxyType(found))

    @property
    def value_names(self) -> tuple[str, ...]:
        return tuple(value.name for value in self.values)

    @property
    def argument_names(self) -> tuple[str, ...]:
        return tuple(argument.name for argument in self.arguments)

    @property
    def has_targets(self) -> bool:
        """Whether it is tested on data sets beside the one that is learned."""
        return "targets" in self.argument_names

    @property
    def main_value(self) -> Value:
        return self._by_name[self.main]


def harmonic_mean(base: float, new: float) -> float:
    """2 b n / (b + n); 0 if both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0
