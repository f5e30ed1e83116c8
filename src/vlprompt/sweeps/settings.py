"""sweep.toml: which grid to run.

    methods = ["zeroshot", "coop", "coop+lamm"]
    data = ["demo", "flowers", "oxford_pets"]
    shots = [1, 4, 16]
    seeds = [1, 2, 3]
    protocols = ["few_shot", "base_to_new"]
    backbone = "embedded"
    runs = "runs/grid"                  # keep run folders, so that single trainings go on too
    root = "datasets"                   # where benchmark data sets lie, which are then known by their names

    [train]                             # of every method
    epochs = 20

    [method.coop]                       # of one method: recipe, options, train
    options = { context_tokens = 4 }

    [dataset.flowers]                   # a name for a path, and how to open it
    path = "photos/flowers.zip"
    templates = ["a photo of a {}, a type of flower."]

    [protocol.base_to_new]              # of one protocol: a smaller grid, and its own arguments
    shots = [16]
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlprompt.data.catalog import TRANSFER
from vlprompt.data.catalog import find as find_entry
from vlprompt.errors import OptionError, nearest
from vlprompt.sweeps.cells import Cell, DataSpec, Setup

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_RUNS = 100_000
GRID = ("methods", "data", "shots", "seeds")
KEYS = (
    *GRID, "protocols", "backbone", "tokenizer", "precision", "device", "cache", "runs", "out", "templates", "root",
    "train", "method", "dataset", "protocol",
)  # fmt: skip
OF_METHOD = ("recipe", "options", "train")
OF_DATASET = ("path", "templates", "classes", "labels", "label_column", "domains", "root", "split_seed",
              "val_fraction", "test_fraction")  # fmt: skip
FROM_CELL = ("data", "method", "backbone", "shots", "seeds", "out", "more")  # a protocol's arguments that the grid gives


@dataclass(frozen=True)
class Sweep:
    """A grid. out: the results file."""

    cells: tuple[Cell, ...]
    out: Path = Path("results.jsonl")


def read_sweep(path: str | Path, root: str | None = None) -> Sweep:
    """The grid that a TOML file means; OptionError names what is wrong in it. root: instead of the file's."""
    try:
        held = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path}: no TOML ({error})") from error
    try:
        return make_sweep(held | ({} if root is None else {"root": root}))
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    except (TypeError, AttributeError) as error:  # a value of a kind that nothing above looks at
        raise OptionError(f"{path}: a value is of a wrong kind ({error})") from error


def make_sweep(held: dict[str, Any]) -> Sweep:
    """The same from the file's content as a dict. Every method's settings are checked before anything runs."""
    from vlprompt.cli.protocols import find
    from vlprompt.fitting import make_plan

    check_keys(held, KEYS, "")
    names = texts(held, "protocols", ["few_shot"])
    setup = Setup(
        str(held.get("backbone", "embedded")), held.get("tokenizer"), str(held.get("precision", "float32")),
        str(held.get("device", "auto")), False if held.get("cache") is False else held.get("cache"),
    )  # fmt: skip
    if setup.cache is True:
        setup = Setup(setup.backbone, setup.tokenizer, setup.precision, setup.device)
    for part in ("train", "method", "dataset", "protocol"):
        if not isinstance(held.get(part, {}), dict):
            raise OptionError(f"{part}: expected a table, [{part}]")
    specs = Specs(held)
    of_methods = held.get("method", {})
    used: set[str] = set()
    cells: list[Cell] = []
    for name in names:
        function = find(name)
        protocol = function.__name__
        own = table(held.get("protocol", {}).get(name, {}), f"protocol.{name}")
        known = [p for p in inspect.signature(function).parameters if p not in FROM_CELL]
        check_keys(own, (*GRID, *known), f"protocol.{name}.")
        grid = held | {key: own[key] for key in GRID if key in own}
        arguments = {key: value for key, value in own.items() if key not in GRID}
        methods, data = texts(grid, "methods"), texts(grid, "data")
        shots, seeds = numbers(grid, "shots", [16]), numbers(grid, "seeds", [1, 2, 3])
        if (count := len(methods) * len(data) * len(shots) * len(seeds)) > MOST_RUNS:
            raise OptionError(f"{name}: a grid of {count} runs (at most {MOST_RUNS}): make it several")
        aims = arguments.pop("targets", None)
        if aims is None and protocol in TRANSFER and data == ["imagenet"]:
            aims = list(TRANSFER[protocol])
        if aims is None and protocol == "cross_dataset":
            aims = data
        for method in methods:
            used.add(method)
            table_ = table(of_methods.get(method, {}), f"method.{method}")
            check_keys(table_, OF_METHOD, f"method.{method}.")
            train = held.get("train", {}) | table(table_.get("train", {}), f"method.{method}.train")
            options, recipe = table(table_.get("options", {}), f"method.{method}.options"), table_.get("recipe")
            make_plan(method, options, train, recipe)
            for spec in map(specs, data):
                targets = tuple(s for s in map(specs, aims or ()) if s != spec)
                cells += [
                    Cell(protocol, spec, method, count, seed, setup, options, train, recipe, arguments, targets,
                         held.get("runs"))
                    for count in shots for seed in seeds
                ]  # fmt: skip
    for unused, known_names, what in (
        (set(of_methods) - used, used, "method"), (set(held.get("protocol", {})) - set(names), set(names), "protocol"),
    ):  # fmt: skip
        for name in sorted(unused):
            raise OptionError(f'[{what}.{name}]: there is no such {what} in the grid: {nearest(name, known_names)}')
    unique = {cell.key: cell for cell in in_order(cells)}
    return Sweep(tuple(unique.values()), Path(held.get("out", "results.jsonl")))


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """Runs on the same pictures one after another; what is cheap first, so that tables fill early."""
    kept = list(cells)
    first = {spec: i for i, spec in reversed(list(enumerate(cell.data for cell in kept)))}
    return sorted(kept, key=lambda cell: (first[cell.data], cell.shots))


class Specs:
    """Data sets by the words of the grid: names of [dataset.NAME] tables, or paths."""

    def __init__(self, held: dict[str, Any]) -> None:
        self.tables = held.get("dataset", {})
        self.root = held.get("root")
        if self.root is not None and not isinstance(self.root, str):
            raise OptionError(f"root is {self.root!r}: expected the path of a folder")
        self.templates = text_list(held.get("templates", []), "templates")
        self.known: dict[str, DataSpec] = {}
        for name, content in self.tables.items():
            check_keys(table(content, f"dataset.{name}"), OF_DATASET, f"dataset.{name}.")

    def __call__(self, word: str) -> DataSpec:
        content = self.tables.get(word, {})
        if not content and self.root is not None and word.partition(":")[0] != "demo" and not Path(word).exists():
            content = {"path": find_entry(word).name, "root": self.root}
            word = content["path"]
        name = word if content else Path(word).name.split(".")[0] or "data"
        path = str(content.get("path", word))
        arguments = tuple(sorted((k, frozen(v)) for k, v in content.items() if k not in ("path", "templates")))
        given = text_list(content.get("templates", self.templates), f"dataset.{word}.templates")
        spec = DataSpec(name.replace(":", "-").replace("/", "-"), path, arguments, tuple(given))
        if self.known.setdefault(spec.name, spec) != spec:
            raise OptionError(
                f'data: two data sets would be called "{spec.name}"; name them with [dataset.NAME] and path = "{path}"'
            )
        return spec


def check_keys(held: dict[str, Any], known: Sequence[str], where: str) -> None:
    """OptionError for an unknown key, with the nearest one."""
    for key in held:
        if key not in known:
            raise OptionError(f'no key "{where}{key}": {nearest(key, known)}')


def table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"{where}: expected a table, [{where}]")
    return value


def texts(held: dict[str, Any], key: str, default: list[str] | None = None) -> list[str]:
    """A list of texts that is not empty; one text stands for a list of one."""
    if key not in held and default is None:
        raise OptionError(f'"{key}" is missing: a list such as {key} = ["{"coop" if key == "methods" else "demo"}"]')
    found = text_list(held.get(key, default), key)
    if not found:
        raise OptionError(f"{key}: the list is empty")
    return list(dict.fromkeys(found))


def text_list(value: Any, key: str) -> list[str]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise OptionError(f"{key} is {value!r}: expected a list of texts")
    return found


def numbers(held: dict[str, Any], key: str, default: list[int]) -> list[int]:
    """A list of whole numbers from 0 on; one number stands for a list of one."""
    found = held.get(key, default)
    found = found if isinstance(found, list) else [found]
    if not found or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in found):
        raise OptionError(f"{key} is {held.get(key)!r}: expected a list of whole numbers")
    return list(dict.fromkeys(found))


def frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
