"""One try on the demo's validation pictures, and many side by side: what tune.py and views.py have in common."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.opening import open_dataset
from vlprompt.demo.one_training import cores, set_up
from vlprompt.fitting.recipes import load_recipe
from vlprompt.runs.records import append, lines_of

SHOTS = 16
PARTS = 5
DRAWS = 4
FOUND = {  # what a record holds beside what its try differs in
    *("protocol", "backbone", "accuracy", "error", "zero_shot", "loss", "seconds", "encode_seconds")
}


@dataclass(frozen=True)
class Try:
    """recipe: of the training. train, options: what differs from it. cache: whether features of earlier tries are used.

    shots: training pictures of every class. part: which of PARTS of the training and validation pictures together are judged by what the others teach; without
    one the validation pictures are. names: of the demo's classes, in place of its own.
    """

    recipe: str
    train: dict[str, Any]
    seed: int
    cache: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    shots: int = SHOTS
    part: int | None = None
    names: tuple[str, ...] = ()

    def is_of(self, record: dict[str, Any]) -> bool:
        """Whether a record is of this try, and not of one that differs in more."""
        return {key: value for key, value in record.items() if key not in FOUND} == self.differs

    @property
    def differs(self) -> dict[str, Any]:
        part = {} if self.part is None else {"part": self.part}
        shots = {} if self.shots == SHOTS else {"shots": self.shots}
        names = {"names": list(self.names)} if self.names else {}
        return {
            "recipe": self.recipe,
            **self.train,
            **self.options,
            "seed": self.seed,
            **shots,
            **part,
            **names,
        }


@lru_cache(maxsize=2)
def once_loaded(backbone: str, precision: str) -> Backbone:
    """The backbone, loaded once in each process."""
    from vlprompt.backbones.loading import load_backbone

    return load_backbone(backbone, precision=precision)


def attempt(backbone: str, precision: str, one: Try) -> dict[str, Any]:
    """Accuracy on the validation pictures of one training."""
    from vlprompt.data.sampling import draw
    from vlprompt.errors import TrainingError
    from vlprompt.fitting.learning import learn
    from vlprompt.fitting.plan import make_plan

    dataset = demo(one.part)
    if one.names:
        dataset = replace(dataset, class_names=one.names)
    loaded = once_loaded(backbone, precision)
    plan = make_plan(load_recipe(one.recipe).method, options=one.options, train=one.train, recipe=one.recipe)
    record = {"protocol": "tuning", "backbone": loaded.fingerprint, **one.differs}
    try:
        run = learn(dataset, draw(dataset, shots=one.shots, seed=one.seed), loaded, plan, cache=one.cache)
    except TrainingError as error:
        return record | {"accuracy": 0.0, "error": str(error)}
    return record | {
        "accuracy": run.scores["test"]["accuracy"],
        "zero_shot": run.scores["zero_shot"]["accuracy"],
        "loss": run.info.training.loss,
        "seconds": run.info.timings["train_s"],
        "encode_seconds": run.info.timings["encode_s"],
    }


def demo(part: int | None) -> Dataset:
    """The demo's pictures with what is judged as test pictures. part: as in `Try`; each has the same number of every class."""
    dataset = open_dataset("demo")
    if part is None:
        return replace(dataset, splits={"train": dataset.items("train"), "test": dataset.items("val")})
    splits: dict[str, list[Item]] = {"train": [], "test": []}
    for label in range(len(dataset.class_names)):
        own = [item for name in ("train", "val") for item in dataset.items(name) if item.label == label]
        for number, item in enumerate(own):
            splits["test" if number % PARTS == part else "train"].append(item)
    return replace(dataset, splits=splits)


def parser(description: str, recipes: Iterable[str]) -> argparse.ArgumentParser:
    """The flags that all scripts share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--backbone", default="embedded")
    made.add_argument("--precision", default="float32")
    made.add_argument(
        "--out", type=Path, required=True, help="JSON lines with every try; those in it are not made again"
    )
    made.add_argument("--workers", type=int, default=cores())
    made.add_argument("--recipes", type=lambda text: text.split(","), default=list(recipes))
    return made


def known(out: Path) -> list[dict[str, Any]]:
    return lines_of(out) if out.exists() else []


def make(arguments: argparse.Namespace, wanted: Iterable[Try]) -> Iterator[dict[str, Any]]:
    """The records of the tries that are not in the file yet, as they end and are written."""
    held = known(arguments.out)
    todo = [one for one in wanted if not any(one.is_of(record) for record in held)]
    with ProcessPoolExecutor(arguments.workers, get_context("spawn"), set_up, (1,)) as pool:
        futures = [pool.submit(attempt, arguments.backbone, arguments.precision, one) for one in todo]
        for future in as_completed(futures):
            append(arguments.out, future.result())
            yield future.result()


def judge_both_ways(
    arguments: argparse.Namespace,
    settings: dict[str, dict[str, dict[str, Any]]],
    parts: int,
    draws: int,
    names: tuple[str, ...] = (),
) -> None:
    """Makes and prints the tries of several settings, each judged by the validation pictures, over some draws of what is
    learned (100 pictures, taken elsewhere than those that teach: the harder ones, and few); and by parts (`Try`; most of
    those look like some that teach). settings: by name what differs, "train" and "options". names: as in `Try`.
    """
    ways = [(1, part) for part in range(parts)], [(1 + draw, None) for draw in range(draws)]

    def one(recipe: str, name: str, seed: int, part: int | None) -> Try:
        own = settings[name]
        train, options = own.get("train", {}), own.get("options", {})
        return Try(recipe, train, seed, options=options, part=part, names=names)

    wanted = [
        one(recipe, name, *asked)
        for way in ways
        for asked in way
        for recipe in arguments.recipes
        for name in settings
    ]
    for _ in make(arguments, wanted):
        pass
    records = known(arguments.out)
    for recipe in arguments.recipes:
        for name in settings:
            found = [
                [next(r["accuracy"] for r in records if one(recipe, name, *asked).is_of(r)) for asked in way]
                for way in ways
            ]
            means = [statistics.mean(one) for one in found]
            print(
                f"{recipe}, {name}: parts {means[0]:.1f} {found[0]}, validation {means[1]:.1f} {found[1]}, "
                f"both {statistics.mean(means):.1f} %"
            )
