"""What the papers' whole grid costs, from measured step times: 11 data sets x 5 shot counts x 3 seeds x 8 methods.

    python benchmarks/step.py --json --no-plain --methods lamm,coop,cocoop,maple,... --classes 100,1000 >> rows.jsonl
    python benchmarks/grid.py --measure >> rows.jsonl           pictures per second through the image tower
    python benchmarks/grid.py rows.jsonl                        the table
    python benchmarks/grid.py rows.jsonl --nodes 1,4,16 --json
    python benchmarks/grid.py rows.jsonl --short                the short schedule where there is one

A run's training is epochs x floor(classes x shots / batch) steps of the published settings (`Facts.recipe`); with
--short, the steps on all pictures, seen as test crops, that a method's recipe for small backbones takes.
A step's time is taken on the line through the measured numbers of classes (with one of them only, in proportion
to the classes for methods that work on features, and as it is for the others; the output says which).

Pictures: cached, the test pictures of a data set and the training views of a seed are encoded once for all runs
that use them; uncached, every run encodes its own, and methods on frozen features encode each batch of each
step. Methods with visual prompts send test pictures through the tower in every run either way. Not counted:
decoding, scoring's text side, starting processes, and the time in which nodes wait for a last long run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

DATA = (
    "imagenet",
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "oxford_flowers",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
)
METHODS = ("coop", "cocoop", "proda", "vpt", "maple", "lamm", "coop+lamm", "ctp+tft")
SHOTS = (1, 2, 4, 8, 16)
SEEDS = 3
VIEWS = 8  # kept views of a training picture (--views 8)


@dataclass(frozen=True)
class Times:
    """Measured on one machine. steps: method -> [(classes, seconds, batch)]; pictures: a second, encoded."""

    steps: dict[str, list[tuple[int, float, int]]]
    pictures: float

    def step(self, method: str, classes: int, batch: int, per_class: bool) -> float:
        """Seconds of one step; a batch other than the measured one counts in proportion."""
        rows = sorted(self.steps[method])
        scale = batch / rows[0][2] if not per_class else 1.0  # text features are shared by the batch
        if len({c for c, *_ in rows}) == 1:
            return rows[0][1] * scale * (classes / rows[0][0] if per_class else 1.0)
        (c0, t0, _), (c1, t1, _) = rows[0], rows[-1]
        slope = max(0.0, (t1 - t0) / (c1 - c0))
        return max(t0 * min(1.0, classes / c0), t0 + slope * (classes - c0)) * scale


@dataclass(frozen=True)
class Cost:
    """Seconds of one method over its part of the grid."""

    runs: int = 0
    steps: int = 0
    training: float = 0.0
    cached: float = 0.0  # pictures of its own with a cache
    uncached: float = 0.0  # pictures without one
    longest: float = 0.0  # training of one run


def measure(device: str, precision: str) -> dict[str, Any]:
    """Pictures per second through an image tower of ViT-B/16 size."""
    import torch
    from step import backbone, machine

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    held = backbone(device, dtype)
    size, rounds = (256, 10) if device == "cuda" else (8, 3)
    pixels = torch.randn(size, 3, 224, 224).to(device)

    def once() -> float:
        began = time.perf_counter()
        held.image_features(pixels)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    once()
    speed = size / sorted(once() for _ in range(rounds))[rounds // 2]
    return {
        "what": "pictures",
        "images_per_s": round(speed, 2),
        "precision": precision,
        "device": device,
        "machine": machine(device),
    }


def read(path: Path, machine: str | None, precision: str) -> tuple[Times, str]:
    """Times of one machine and precision from JSON lines of step.py and of --measure."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    rows = [r for r in rows if r.get("precision") == precision]
    names = {r["machine"] for r in rows}
    if machine is None and len(names) == 1:
        (machine,) = names
    if machine not in names:
        raise SystemExit(f"--machine: one of {sorted(names)} with {precision}")
    rows = [r for r in rows if r["machine"] == machine]
    steps: dict[str, dict[int, tuple[int, float, int]]] = defaultdict(dict)
    pictures = 0.0
    for row in rows:
        if row.get("what") == "pictures":
            pictures = row["images_per_s"]
        elif "fast_s" in row:
            steps[row["method"]][row["classes"]] = row["classes"], row["fast_s"], row["batch"]
    if not pictures:
        raise SystemExit("no measured pictures per second: add a row with --measure")
    return Times({name: list(found.values()) for name, found in steps.items()}, pictures), machine


def short_passes(method: str) -> int:
    """Steps of its short schedule, if that takes all training pictures in each; else 0."""
    from vlprompt.fitting.recipes import load_recipe, measured_for
    from vlprompt.training.train_options import ALL_PICTURES

    recipe = measured_for(method, "embedded")
    train = load_recipe(recipe).train if recipe is not None else {}
    return int(train["epochs"]) if train.get("batch") == ALL_PICTURES else 0


def grid(times: Times, methods: tuple[str, ...], short: bool = False) -> tuple[dict[str, Cost], float]:
    """Cost by method, and the seconds of pictures that all methods share with a cache."""
    from vlprompt import methods as library
    from vlprompt.data.catalog import ENTRIES

    sets = {entry.name: entry for entry in ENTRIES}
    costs: dict[str, Cost] = {}
    for name in methods:
        spec = library.load(name)
        recipe, live = spec.facts.recipe, not spec.facts.cached
        passes = short_passes(name) if short else 0
        runs = steps = 0
        training = cached = uncached = longest = 0.0
        for data in DATA:
            entry = sets[data]
            for shots in SHOTS:
                pictures = entry.classes * shots
                batch = min(recipe.batch, pictures)
                count = passes or recipe.epochs * (pictures // batch)
                read = 0 if live else pictures if passes else count * batch
                test = entry.test / times.pictures
                runs, steps = runs + SEEDS, steps + SEEDS * count
                one = count * times.step(name, entry.classes, batch, not live)
                training, longest = training + SEEDS * one, max(longest, one)
                own = (
                    SEEDS * test if "pixels" in spec.facts.needs else 0.0
                )  # prompts change the picture's features
                cached += own
                uncached += own + SEEDS * test + SEEDS * read / times.pictures
        costs[name] = Cost(runs, steps, training, cached, uncached, longest)
    shared = sum(
        sets[data].test / times.pictures
        + SEEDS * VIEWS * sum(sets[data].classes * k for k in SHOTS) / times.pictures
        for data in DATA
    )
    return costs, shared


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, nargs="?")
    parser.add_argument("--measure", action="store_true", help="print a row of pictures per second, and end")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--machine", help="as the rows name it, if they are of several")
    parser.add_argument("--methods", type=lambda s: tuple(s.split(",")), default=METHODS)
    parser.add_argument("--nodes", type=lambda s: [int(n) for n in s.split(",")], default=[1, 4, 16])
    parser.add_argument("--short", action="store_true", help="the short schedule where there is one")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.device, args.precision)))
        return 0
    if args.rows is None:
        parser.error("give the rows that step.py --json printed")
    times, machine = read(args.rows, args.machine, args.precision)
    known = tuple(m for m in args.methods if m in times.steps)
    missing = [m for m in args.methods if m not in times.steps]
    costs, shared = grid(times, known, args.short)
    cached = shared + sum(c.training + c.cached for c in costs.values())
    uncached = sum(c.training + c.uncached for c in costs.values())
    found = {
        "machine": machine,
        "precision": args.precision,
        "runs": sum(c.runs for c in costs.values()),
        "shared_pictures_h": shared / 3600,
        "cached_h": cached / 3600,
        "uncached_h": uncached / 3600,
        "missing": missing,
        "one_class_count": [m for m in known if len(times.steps[m]) == 1],
        "methods": {
            m: {
                "runs": c.runs,
                "steps": c.steps,
                "training_h": c.training / 3600,
                "cached_h": (c.training + c.cached) / 3600,
                "uncached_h": (c.training + c.uncached) / 3600,
                "longest_h": c.longest / 3600,
            }
            for m, c in costs.items()
        },
        "nodes": {n: max(cached / 3600 / n, *(c.longest / 3600 for c in costs.values())) for n in args.nodes},
    }
    if args.json:
        print(json.dumps(found))
        return 0
    print(f"{machine}, {args.precision}, {times.pictures:g} pictures/s\n")
    print(
        "| method | runs | steps | training h | cached h | uncached h | longest run h |\n|"
        + " --- |"
        + " ---: |" * 6
    )
    for name, row in found["methods"].items():
        print(
            f"| `{name}` | {row['runs']} | {row['steps']} | {row['training_h']:.1f} | {row['cached_h']:.1f} | {row['uncached_h']:.1f} | {row['longest_h']:.1f} |"
        )
    print(f"| shared pictures | | | | {shared / 3600:.1f} | | |")
    print(f"| all | {found['runs']} | | | {cached / 3600:.1f} | {uncached / 3600:.1f} | |\n")
    print(
        ", ".join(f"{n} nodes: {hours:.0f} h" for n, hours in found["nodes"].items())
        + " (never idle, and never less than the longest run)"
    )
    for text, names in (
        ("not measured, left out", missing),
        ("measured with one number of classes", found["one_class_count"]),
    ):
        if names:
            print(f"{text}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
