"""Text passes against accuracy: each method's published schedule beside the short one, on data sets of photographs.

    python recipes/small/passes.py grocery.zip:coarse eurosat.zip pacs.zip --out passes.jsonl
    python recipes/small/passes.py flowers.zip caltech101.zip --shots 4 --out passes.jsonl
    python recipes/small/passes.py grocery.zip:coarse eurosat.zip --out passes.jsonl --passes -1
    python recipes/small/passes.py --out passes.jsonl       the tables alone, from what is known
    python recipes/small/passes.py eurosat.zip pacs.zip --out pictures.jsonl --count pictures --epochs 0,1,2,5,10

A text pass is one forward and backward pass through the text tower over all classes. "Published": epochs, batches, rate and
optimiser of the method's paper (`Facts.recipe`); "short": the recipe for small backbones, which was chosen on the demo's
validation pictures (tune.py), with its own number of passes or others; "quick": a twentieth of the published passes, by what
did best on the demo's pictures in twelve (schedules.py --quick). Options, pictures and views (test crops) are the same. Where
the image tower learns, too, pictures that are seen are what counts, in place of passes. Nothing is chosen here: every score is
of test pictures.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from trying import known, once_loaded

from vlprompt import methods, open_dataset
from vlprompt.data.dataset import Dataset
from vlprompt.data.sampling import draw
from vlprompt.data.task import DEFAULT_TEMPLATE, Task
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder, Inputs
from vlprompt.fitting.lesson import get_ready
from vlprompt.fitting.plan import make_plan
from vlprompt.fitting.recipes import measured_for
from vlprompt.runs.records import append
from vlprompt.scoring.evaluation import evaluate
from vlprompt.seeds import generator
from vlprompt.training.loop import train

METHODS = {  # by what costs: every pass over all pictures is one text pass, or every picture counts
    "passes": ("coop", "lamm", "coop+lamm", "kgcoop", "tcp"),
    "pictures": ("vpt", "cocoop", "maple", "ctp+tft", "promptsrc", "mmrl", "mmrlpp", "clip_lora"),
}
PUBLISHED, TWENTIETH = 0, -1  # in place of a number of epochs
QUICK: dict[str, dict[str, Any]] = {  # for few passes, where that is not the short schedule
    "coop": {"optimizer": "muon", "lr": 0.02, "momentum": 0.5, "schedule": "epoch"},
    "coop+lamm": {"optimizer": "muon", "lr": 0.04, "momentum": 0.5, "schedule": "epoch"},
    "tcp": {"optimizer": "muon", "lr": 0.08, "momentum": 0.3, "schedule": "epoch"},
}
KEYS = ("data", "method", "shots", "seed", "wanted")


class Pictures:
    """Training and test pictures of one draw as methods are fed them, made once; frozen features are those of float32."""

    def __init__(self, dataset: Dataset, shots: int, seed: int) -> None:
        self.dataset, self.split, self.seed = dataset, draw(dataset, shots=shots, seed=seed), seed
        self._encoder = Encoder(dataset, once_loaded("embedded", "float32"), cache=FeatureCache())
        self._made: dict[Set[str], tuple[Inputs, Inputs]] = {}

    def inputs(self, needs: Set[str]) -> tuple[Inputs, Inputs]:
        if needs not in self._made:
            self._made[needs] = (
                self._encoder.inputs(needs, self.split.train),
                self._encoder.inputs(needs, self.split.test),
            )
        return self._made[needs]


def taught(pictures: Pictures, method: str, wanted: int, precision: str) -> dict[str, Any]:
    """One training and its score on the test pictures. wanted: epochs."""
    dataset, split, seed = pictures.dataset, pictures.split, pictures.seed
    spec = methods.load(method)
    facts = spec.facts
    learned, test = pictures.inputs(facts.needs)
    plan = make_plan(method, recipe=measured_for(method, "embedded"))
    published = type(plan.train)(views="center").resolved(facts.recipe, facts.needs)
    spoken = dataset.templates if facts.says_template else ()
    task = Task(split.class_names, spoken or (DEFAULT_TEMPLATE,))
    made = spec.build(
        once_loaded("embedded", precision), task, plan.options, generator(seed, "initial values")
    )
    options = published if wanted == PUBLISHED else plan.train.resolved(facts.recipe, facts.needs)
    if wanted == TWENTIETH:
        steps = published.epochs * (len(learned) // published.pictures_of_step(len(learned)))
        options = replace(options, epochs=steps // 20, **QUICK.get(method, {}))
    elif wanted != PUBLISHED:
        options = replace(options, epochs=wanted)
    get_ready(made, learned, None)
    found = train(made, learned, options, seed=seed)
    return {
        "passes": found.steps,
        "pictures": found.steps * found.batch,
        "accuracy": evaluate(made.eval(), test).accuracy,
        "loss": found.loss,
        "seconds": found.seconds,
    }


def make(arguments: argparse.Namespace) -> None:
    for data in arguments.data:
        path, _, column = data.partition(":")
        dataset = open_dataset(path, label_column=column or None)
        for seed in arguments.seeds:
            pictures = Pictures(dataset, arguments.shots, seed)
            for method in arguments.methods:
                for wanted in arguments.epochs:
                    name = Path(path).stem + (f" {column}" if column else "")
                    key = dict(zip(KEYS, (name, method, arguments.shots, seed, wanted), strict=True))
                    if any(one.items() >= key.items() for one in known(arguments.out)):
                        continue
                    found = taught(pictures, method, wanted, arguments.precision)
                    append(arguments.out, key | {"precision": arguments.precision} | found)
                    print(key | found, flush=True)


def grouped(records: Sequence[dict[str, Any]]) -> dict[tuple[str, int, str], dict[int, list[dict[str, Any]]]]:
    """Records by data set, pictures of a class and method, and of each by the wanted passes."""
    found: dict[tuple[str, int, str], dict[int, list[dict[str, Any]]]] = {}
    for one in records:
        row = found.setdefault((one["data"], one["shots"], one["method"]), {})
        row.setdefault(one["wanted"], []).append(one)
    return found


def accuracies(records: Iterable[dict[str, Any]]) -> list[float]:
    return [one["accuracy"] for one in records]


def table(records: Sequence[dict[str, Any]], count: str) -> Iterable[str]:
    """Rows of data sets, pictures of a class, and methods; a cell is the mean accuracy over the seeds, its deviation, how many
    seeds, and the passes or pictures where they differ by data."""
    columns = sorted({one["wanted"] for one in records}, key=abs)
    one, many = ("pass", "passes") if count == "passes" else ("epoch", "epochs")
    named = {PUBLISHED: "published", TWENTIETH: "quick, a twentieth"}
    titles = [named.get(c, f"short, {c} {one if c == 1 else many}") for c in columns]
    yield f"| data set | shots | method | {' | '.join(titles)} |"
    yield "|---|---|---|" + "---|" * len(columns)
    for (data, shots, method), row in grouped(records).items():
        cells = [cell(column, row[column], count) if column in row else "not run" for column in columns]
        yield f"| {data} | {shots} | `{method}` | {' | '.join(cells)} |"


def cell(wanted: int, own: Sequence[dict[str, Any]], count: str) -> str:
    found = accuracies(own)
    spread = f" ± {statistics.stdev(found):.1f}" if len(own) > 1 else ""
    cost = f", {own[0][count]} {count}" if wanted in (PUBLISHED, TWENTIETH) else ""
    return f"{statistics.mean(found):.1f}{spread} ({len(own)}{cost})"


def needed(records: Sequence[dict[str, Any]], count: str) -> Iterable[str]:
    """Rows of methods: the fewest passes or pictures, of those that were measured, whose mean accuracy is within one deviation of the
    published schedule's or above it, and how many that one has."""
    found: dict[str, dict[str, str]] = {}
    for (data, shots, method), row in grouped(records).items():
        published = row.pop(PUBLISHED, [])
        if len(published) < 2:
            continue
        bar = statistics.mean(accuracies(published)) - statistics.stdev(accuracies(published))
        whole = published[0][count]
        spent = min(
            (own[0][count] for own in row.values() if statistics.mean(accuracies(own)) >= bar), default=0
        )
        text = (
            f"{spent} of {whole} (1/{whole / spent:.{0 if spent < whole / 2 else 1}f})"
            if spent
            else f"more, of {whole}"
        )
        found.setdefault(method, {})[f"{data}, {shots} shots"] = text
    columns = list(dict.fromkeys(name for texts in found.values() for name in texts))
    yield f"| method | {' | '.join(columns)} |"
    yield "|---|" + "---|" * len(columns)
    for method, texts in found.items():
        yield f"| `{method}` | {' | '.join(texts.get(name, 'not run') for name in columns)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", help="PATH, or PATH:LABEL_COLUMN")
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON lines; trainings in it are not made again"
    )
    parser.add_argument("--count", choices=tuple(METHODS), default="passes", help="what a training costs")
    parser.add_argument("--methods", type=lambda text: text.split(","), help="default: all that cost this")
    parser.add_argument(
        *("--epochs", "--passes"),
        type=lambda text: [int(n) for n in text.split(",")],
        default=[PUBLISHED, 10, 25, 50],
        help="of the short schedule; 0: the published schedule; -1: a twentieth of its passes, by the quick one",
    )
    parser.add_argument("--seeds", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--precision", default="float32", help="of the text tower")
    arguments = parser.parse_args()
    arguments.methods = arguments.methods or METHODS[arguments.count]
    make(arguments)
    records = [one for one in known(arguments.out) if one["method"] in METHODS[arguments.count]]
    print("\n".join([*table(records, arguments.count), "", *needed(records, arguments.count)]))


if __name__ == "__main__":
    main()
