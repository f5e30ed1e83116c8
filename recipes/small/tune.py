"""Choose the learning rates of the recipes for small backbones, on the demo's validation pictures.

    python recipes/small/tune.py --out grid.jsonl            tries every rate for every method
    python recipes/small/tune.py --out grid.jsonl --write    and puts the best into assets/recipes/small_*.json

Every method has the same number of tries. Trained on 16 pictures per class with everything else as in its
recipe, scored on all validation pictures; the test pictures are never read. Rates in grid.jsonl already are
not tried again.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from vlprompt.demo.jobs import cores, set_up
from vlprompt.recipes import FOLDER, load_recipe, recipe_names
from vlprompt.results.records import append

# Three for each. SGD, as published, where steps are cheap: the published rates, for backbones of 512
# dimensions and more, lie at the low end. AdamW where there are few steps: prompts of both towers and label
# tokens need rates of SGD that differ a hundredfold.
RATES = {"sgd": (0.02, 0.1, 0.5), "adamw": (0.0005, 0.002, 0.008)}
SHOTS = 16


def small_recipes() -> list[str]:
    return [name for name in recipe_names() if name.startswith("small_")]


def rates(name: str) -> tuple[float, ...]:
    return RATES[load_recipe(name).train["optimizer"]]


def attempt(backbone: str, precision: str, name: str, train: dict[str, Any], seed: int, cache: bool = True) -> dict[str, Any]:
    """Accuracy on the validation pictures of one training. train: what differs from the recipe."""
    from vlprompt import open_dataset
    from vlprompt.clip.loading import load_backbone
    from vlprompt.data.sampling import draw
    from vlprompt.errors import TrainingError
    from vlprompt.fitting import learn, make_plan

    dataset = open_dataset("demo")
    dataset = replace(dataset, splits={"train": dataset.items("train"), "test": dataset.items("val")})
    loaded = load_backbone(backbone, precision=precision)
    plan = make_plan(load_recipe(name).method, train=train, recipe=name)
    record = {"protocol": "tuning", "backbone": loaded.fingerprint, "recipe": name, **train, "seed": seed}
    try:
        run = learn(dataset, draw(dataset, shots=SHOTS, seed=seed), loaded, plan, cache=cache)
    except TrainingError as error:
        return record | {"accuracy": 0.0, "error": str(error)}
    return record | {
        "accuracy": run.scores["test"]["accuracy"], "zero_shot": run.scores["zero_shot"]["accuracy"],
        "loss": run.info["training"]["loss"], "seconds": run.info["timings"]["train_s"],
        "encode_seconds": run.info["timings"]["encode_s"],
    }  # fmt: skip


def best(records: list[dict[str, Any]], name: str) -> tuple[float, float] | None:
    """The rate with the best mean accuracy, and that; of equal ones the smaller rate."""
    found = None
    for lr in rates(name):
        own = [r["accuracy"] for r in records if r["recipe"] == name and r["lr"] == lr]
        if own and (found is None or sum(own) / len(own) > found[1]):
            found = (lr, sum(own) / len(own))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines with every try")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--recipes", default=",".join(small_recipes()))
    parser.add_argument("--seed", type=int, default=1, help="another seed adds to the means")
    parser.add_argument("--write", action="store_true", help="put the best rates into the recipes")
    arguments = parser.parse_args()
    known = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    done = {(r["recipe"], r["lr"], r["seed"]) for r in known}
    names, seed = arguments.recipes.split(","), arguments.seed
    wanted = [(name, {"lr": lr}, seed) for name in names for lr in rates(name) if (name, lr, seed) not in done]
    with ProcessPoolExecutor(arguments.workers, get_context("spawn"), set_up, (1,)) as pool:
        for future in as_completed([pool.submit(attempt, arguments.backbone, arguments.precision, *args) for args in wanted]):
            record = future.result()
            append(arguments.out, record)
            known.append(record)
            print(f"{record['recipe']}, lr {record['lr']:g}, seed {record['seed']}: {record['accuracy']:.1f} % "
                  f"(zero-shot {record.get('zero_shot', 0):.1f} %), {record.get('seconds', 0):.0f} s", flush=True)  # fmt: skip
    for name in names:
        if (found := best(known, name)) is None:
            continue
        print(f"{name}: lr {found[0]:g}, {found[1]:.1f} % of the validation pictures")
        if arguments.write:
            path = FOLDER / f"{name}.json"
            held = json.loads(path.read_text())
            held["train"]["lr"] = found[0]
            path.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
