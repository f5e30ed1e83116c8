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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlprompt.data.catalog import find as find_entry
from vlprompt.data.demo_pictures import packaged_name
from vlprompt.errors import OptionError, nearest
from vlprompt.files import MB, parse_toml, read_file
from vlprompt.protocols import facts_of
from vlprompt.sweeps.grid_cells import Cell, DataSpec, Setup

if TYPE_CHECKING:
    from vlprompt.protocols.protocol_facts import ProtocolFacts

MOST_RUNS = 100_000
GRID = ("methods", "data", "shots", "seeds")
KEYS = (
    *GRID,
    "protocols",
    "backbone",
    "tokenizer",
    "precision",
    "device",
    "cache",
    "runs",
    "out",
    "templates",
    "root",
    "train",
    "method",
    "dataset",
    "protocol",
)
OF_METHOD = ("recipe", "options", "train")
OF_DATASET = {  # and what is expected of each, see KINDS
    "path": "text",
    "templates": "text or a list of texts",
    "classes": "text or a list of texts",
    "labels": "text",
    "label_column": "text",
    "domains": "text or a list of texts",
    "root": "the path of a folder",
    "split_seed": "a whole number",
    "val_fraction": "a number from 0 to 1",
    "test_fraction": "a number from 0 to 1",
}
OF_MACHINE = {
    "backbone": "text",
    "tokenizer": "text",
    "precision": "text",
    "device": "text",
    "cache": "a folder, or false",
    "runs": "the path of a folder",
    "out": "the path of a file",
    "root": "the path of a folder",
}


@dataclass(frozen=True)
class Sweep:
    """A grid. out: the results file. left_out: why methods are not run under some protocol, a line each."""

    cells: tuple[Cell, ...]
    out: Path = Path("results.jsonl")
    left_out: tuple[str, ...] = ()


def read_sweep(path: str | Path, root: str | None = None) -> Sweep:
    """The grid that a TOML file means; OptionError names what is wrong in it. root: instead of the file's."""
    try:
        held = parse_toml(read_file(Path(path), MB))
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise OptionError(f"{path}: no TOML ({error})") from error
    try:
        return make_sweep(held | ({} if root is None else {"root": root}))
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    except (TypeError, AttributeError) as error:  # a value of a kind that nothing above looks at
        raise OptionError(f"{path}: a value is of a wrong kind ({error})") from error


def make_sweep(held: dict[str, Any]) -> Sweep:
    """The same from the file's content as a dict. Every setting is checked, and nothing is opened or read; what has to
    lie on this machine is looked at when the sweep starts (`vlprompt.sweeps.sweep.check_here`).

    OptionError names what cannot be, also where no method can take part in its protocol.
    """
    from vlprompt.fitting.plan import make_plan
    from vlprompt.protocols.protocol_setup import obstacle

    check_keys(held, KEYS, "")
    check_values(held, OF_MACHINE, "")
    names = texts(held, "protocols", ["few_shot"])
    setup = setup_of(held)
    for part in ("train", "method", "dataset", "protocol"):
        if not isinstance(held.get(part, {}), dict):
            raise OptionError(f"{part}: expected a table, [{part}]")
    specs = Specs(held)
    of_methods = held.get("method", {})
    used: set[str] = set()
    cells: list[Cell] = []
    left_out: dict[str, None] = {}
    for name in names:
        facts = facts_of(name)
        protocol = facts.name
        own = table(held.get("protocol", {}).get(name, {}), f"protocol.{name}")
        check_keys(own, (*GRID, *facts.argument_names), f"protocol.{name}.")
        kinds = {one.name: one.expected for one in facts.arguments if one.name != "targets"}  # read below
        check_values(own, kinds, f"protocol.{name}.")
        grid = held | {key: own[key] for key in GRID if key in own}
        arguments = {key: value for key, value in own.items() if key not in GRID}
        methods, data = texts(grid, "methods"), texts(grid, "data")
        shots, seeds = numbers(grid, "shots", [16]), numbers(grid, "seeds", [1, 2, 3])
        if (count := len(methods) * len(data) * len(shots) * len(seeds)) > MOST_RUNS:
            raise OptionError(f"{name}: a grid of {count} runs (at most {MOST_RUNS}): make it several")
        aims = (
            text_list(arguments.pop("targets"), f"protocol.{name}.targets")
            if "targets" in arguments
            else None
        )
        if aims is None and facts.usual_targets and data == ["imagenet"]:
            aims = list(facts.usual_targets)
        if aims is None and facts.each_on_the_others:
            aims = data
        sources, others = [specs(word) for word in data], [specs(word) for word in aims or ()]
        for method in methods:
            used.add(method)
            table_ = table(of_methods.get(method, {}), f"method.{method}")
            check_keys(table_, OF_METHOD, f"method.{method}.")
            train = held.get("train", {}) | table(table_.get("train", {}), f"method.{method}.train")
            options, recipe = (
                table(table_.get("options", {}), f"method.{method}.options"),
                table_.get("recipe"),
            )
            if (reason := obstacle(protocol, make_plan(method, options, train, recipe))) is not None:
                left_out[reason] = None
                continue
            for spec in sources:
                targets = tuple(other for other in others if other != spec)
                check_targets(facts, spec, targets, arguments.get("target_templates", {}))
                cells += [
                    Cell(
                        protocol,
                        spec,
                        method,
                        count,
                        seed,
                        setup,
                        options,
                        train,
                        recipe,
                        arguments,
                        targets,
                        held.get("runs"),
                    )
                    for count in shots
                    for seed in seeds
                ]
    for unused, known_names, what in (
        (set(of_methods) - used, used, "method"),
        (set(held.get("protocol", {})) - set(names), set(names), "protocol"),
        (set(specs.tables) - specs.used, specs.used, "dataset"),
    ):
        for name in sorted(unused):
            raise OptionError(
                f"[{what}.{name}]: there is no such {what} in the grid: {nearest(name, known_names)}"
            )
    if not cells:
        raise OptionError("; ".join(left_out))
    unique = {cell.key: cell for cell in in_order(cells)}
    return Sweep(tuple(unique.values()), Path(held.get("out", "results.jsonl")), tuple(left_out))


def setup_of(held: dict[str, Any]) -> Setup:
    """Backbone and machine; OptionError for a device or precision that there is on no machine."""
    from vlprompt.backbones.loading import named_device, named_precision

    cache = held.get("cache")
    setup = Setup(
        held.get("backbone", "embedded"),
        held.get("tokenizer"),
        held.get("precision", "float32"),
        held.get("device", "auto"),
        None if cache is True else cache,
    )
    named_precision(setup.precision)
    if setup.device != "auto":
        named_device(setup.device)
    return setup


def check_targets(
    facts: ProtocolFacts, source: DataSpec, targets: Sequence[DataSpec], spoken: dict[str, Any]
) -> None:
    """OptionError where there is nothing to be tested on, and for words on a target that is none."""
    if facts.each_on_the_others and not targets:
        raise OptionError(
            f"{facts.name}: {source.name} has no other data set to be tested on: give a second one in data, or "
            f'targets = ["..."] in [protocol.{facts.name}]'
        )
    for name, value in spoken.items():
        known = [target.name for target in targets]
        if name not in known:
            raise OptionError(f'target_templates: there is no target "{name}": {nearest(name, known)}')
        template_list(value, f"target_templates.{name}")


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
        self.templates = template_list(held.get("templates", []), "templates")
        self.known: dict[str, DataSpec] = {}
        self.used: set[str] = set()
        for name, content in self.tables.items():
            check_keys(table(content, f"dataset.{name}"), tuple(OF_DATASET), f"dataset.{name}.")
            check_values(content, OF_DATASET, f"dataset.{name}.")

    def __call__(self, word: str) -> DataSpec:
        content = self.tables.get(word, {})
        self.used.add(word)
        if not content and self.root is not None and packaged_name(word) is None and not Path(word).exists():
            content = {"path": find_entry(word).name, "root": self.root}
            word = content["path"]
        name = word if content else Path(word).name.split(".")[0] or "data"
        path = str(content.get("path", word))
        arguments = tuple(
            sorted((k, frozen(v)) for k, v in content.items() if k not in ("path", "templates"))
        )
        given = template_list(content.get("templates", self.templates), f"dataset.{word}.templates")
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


KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("text", "the path of a folder", "the path of a file"), lambda value: isinstance(value, str)
    ),
    "a folder, or false": lambda value: isinstance(value, (str, bool)),
    "text or a list of texts": lambda value: isinstance(value, str) or is_texts(value),
    "a whole number": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "a number from 0 to 1": lambda value: (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    ),
    "a whole number from 2 on, or the class names of each session": lambda value: (
        len(value) >= 2 and all(map(is_texts, value))
        if isinstance(value, list)
        else KINDS["a whole number"](value) and value >= 2
    ),
    "a table of target and text": lambda value: isinstance(value, dict),
}


def check_values(held: dict[str, Any], kinds: Mapping[str, str], where: str) -> None:
    """OptionError for a value that is not of the kind that its key has."""
    for key, kind in kinds.items():
        if key in held and not KINDS[kind](held[key]):
            raise OptionError(f"{where}{key} is {held[key]!r}: expected {kind}")


def is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"{where}: expected a table, [{where}]")
    return value


def texts(held: dict[str, Any], key: str, default: list[str] | None = None) -> list[str]:
    """A list of texts that is not empty; one text stands for a list of one."""
    if key not in held and default is None:
        raise OptionError(
            f'"{key}" is missing: a list such as {key} = ["{"coop" if key == "methods" else "demo"}"]'
        )
    found = text_list(held.get(key, default), key)
    if not found:
        raise OptionError(f"{key}: the list is empty")
    return list(dict.fromkeys(found))


def text_list(value: Any, key: str) -> list[str]:
    found = [value] if isinstance(value, str) else value
    if not is_texts(found):
        raise OptionError(f"{key} is {value!r}: expected a list of texts")
    return list(found)


def template_list(value: Any, key: str) -> list[str]:
    """A list of templates, each with its one {}."""
    from vlprompt.prompts.words import split_template

    found = text_list(value, key)
    for text in found:
        split_template(text)
    return found


def numbers(held: dict[str, Any], key: str, default: list[int]) -> list[int]:
    """A list of whole numbers from 0 on; one number stands for a list of one."""
    found = held.get(key, default)
    found = found if isinstance(found, list) else [found]
    if not found or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in found):
        raise OptionError(f"{key} is {held.get(key)!r}: expected a list of whole numbers, 0 or more")
    return list(dict.fromkeys(found))


def frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
