"""Cells of a grid: everything that one run needs to know, as plain values that travel between processes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vlprompt.data.demo_pictures import packaged_name
from vlprompt.fitting.recipes import load_recipe
from vlprompt.ray_cluster import absolute
from vlprompt.training.train_options import TrainOptions


@dataclass(frozen=True)
class DataSpec:
    """A data set that is not opened yet.

    name: in records and folders. path: what `open_dataset` opens. arguments: of `open_dataset`, as pairs.
    templates: words around the class names, () for the default.
    """

    name: str
    path: str
    arguments: tuple[tuple[str, Any], ...] = ()
    templates: tuple[str, ...] = ()

    @property
    def missing(self) -> str | None:
        """The path that is not there, seen from the folder that this process is in; None if all is."""
        place = dict(self.arguments).get("root", self.path)  # below a root, the path is a name
        return None if packaged_name(place) or Path(place).expanduser().exists() else place

    def located(self) -> DataSpec:
        """The same with absolute paths, for processes that run in other folders."""
        pairs = tuple((key, absolute(value)) for key, value in self.arguments)
        named = any(key == "root" for key, _ in self.arguments)  # the path is a name then
        return replace(self, path=self.path if named else absolute(self.path), arguments=pairs)


@dataclass(frozen=True)
class Setup:
    """Backbone and machine. cache: the folder of features, None for the default one, False for none."""

    backbone: str = "embedded"
    tokenizer: str | None = None
    precision: str = "float32"
    device: str = "auto"
    cache: str | bool | None = None

    def located(self) -> Setup:
        """The same with absolute paths."""
        return replace(
            self,
            backbone=absolute(self.backbone),
            tokenizer=absolute(self.tokenizer),
            cache=absolute(self.cache),
        )


@dataclass(frozen=True)
class Cell:
    """One run: one protocol, data set, method, number of shots and seed.

    options, train, recipe: as for `fit`. arguments: the protocol's own. targets: further data sets that the
    protocol tests on. runs: folder of run folders, None to keep none.
    """

    protocol: str
    data: DataSpec
    method: str
    shots: int
    seed: int
    setup: Setup = Setup()
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    train: dict[str, Any] = field(default_factory=dict, hash=False)
    recipe: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)
    targets: tuple[DataSpec, ...] = ()
    runs: str | None = None

    @cached_property
    def key(self) -> str:
        """Hash of everything that the result depends on: of what stands in a recipe, not of its name; not of device,
        cache and folders to write to."""
        known = asdict(self)
        if self.recipe is not None:
            held = load_recipe(self.recipe)
            known["recipe"] = [held.method, held.options, held.train]
        known.pop("runs")
        known["setup"] = {k: v for k, v in known["setup"].items() if k not in ("device", "cache")}
        known["train"] = {k: v for k, v in known["train"].items() if k != "save_seconds"}
        text = json.dumps(known, ensure_ascii=False, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        return f"{self.protocol} {self.data.name} {self.method} {self.shots} shots seed {self.seed}"

    @property
    def about(self) -> dict[str, Any]:
        """What names the run in a record."""
        return {
            "protocol": self.protocol,
            "data": self.data.name,
            "method": self.method,
            "backbone": self.setup.backbone,
            "shots": self.shots,
            "seed": self.seed,
        }

    @property
    def folder(self) -> Path | None:
        """Where the protocol keeps its `seedN`; cells of other settings have other folders."""
        if self.runs is None:
            return None
        name = f"{self.shots}shots-{self.key[:8]}"
        return Path(self.runs) / self.protocol / self.data.name / self.method / name

    def located(self) -> Cell:
        """The same with absolute paths. Its key is another: take the key before."""
        return replace(
            self,
            data=self.data.located(),
            setup=self.setup.located(),
            recipe=absolute(self.recipe),
            targets=tuple(target.located() for target in self.targets),
        )


@dataclass(frozen=True)
class Warm:
    """Image features that several runs on one data set have in common.

    draws: shots, seed and the trainings of the training pictures to encode, beside all test pictures.
    """

    data: DataSpec
    setup: Setup
    draws: tuple[tuple[int, int, tuple[TrainOptions, ...]], ...] = ()

    @property
    def key(self) -> str:
        return f"features of {self.data.name}"

    @property
    def title(self) -> str:
        return self.key

    def located(self) -> Warm:
        return replace(self, data=self.data.located(), setup=self.setup.located())
