"""Choose the learning rates of the demo's recipes on the demo's validation pictures.

    python recipes/demo/tune.py --out grid.jsonl            tries every rate for every method
    python recipes/demo/tune.py --out grid.jsonl --write    and puts the best into assets/recipes/small_*.json

Every method has the same number of tries. Trained on 16 pictures per class as in the demo, scored on all
validation pictures; the test pictures are never read. Rates in grid.jsonl already are not tried again.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from vlprompt.demo import settings
from vlprompt.demo.jobs import cores, set_up
from vlprompt.results.records import append

# The same for all methods of a kind. SGD, as published, where steps are cheap: the published rates, for backbones
# of 512 dimensions and more, lie at the low end. AdamW where there are few steps: prompts of both towers and label
# tokens need rates of SGD that differ a hundredfold (MaPLe alone took 12.7 % with SGD, 12.4 % with AdamW; with LAMM
# 12.0 and 13.1 %; CoCoOp 8.5 and 9.4 %; means of two seeds, one for CoCoOp, on an early backbone).
RATES = dict.fromkeys(settings.QUICK, (0.001, 0.005, 0.02, 0.1, 0.5)) | dict.fromkeys(settings.SLOW, (0.0005, 0.002, 0.008))
ASSETS = Path(__file__).parents[2] / "src" / "vlprompt" / "assets" / "recipes"


def attempt(backbone: str, method: str, lr: float, seed: int) -> dict[str, Any]:
    """Accuracy on the validation pictures of one training."""
    from vlprompt import open_dataset
    from vlprompt.clip.loading import load_backbone
    from vlprompt.data.sampling import draw
    from vlprompt.errors import TrainingError
    from vlprompt.fitting import learn, make_plan

    dataset = open_dataset("demo")
    dataset = replace(dataset, splits={"train": dataset.items("train"), "test": dataset.items("val")})
    loaded = load_backbone(backbone)
    plan = make_plan(method, train=settings.BUDGET[method] | {"lr": lr}, recipe=settings.recipe(method))
    record = {"protocol": "tuning", "backbone": loaded.fingerprint, "method": method, "lr": lr, "seed": seed,
              "budget": settings.BUDGET[method]}  # fmt: skip
    try:
        run = learn(dataset, draw(dataset, shots=settings.SHOTS, seed=seed), loaded, plan)
    except TrainingError as error:
        return record | {"accuracy": 0.0, "error": str(error)}
    return record | {
        "accuracy": run.scores["test"]["accuracy"], "zero_shot": run.scores["zero_shot"]["accuracy"],
        "loss": run.info["training"]["loss"], "seconds": run.info["timings"]["train_s"],
    }  # fmt: skip


def best(records: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Per method the rate with the best mean accuracy, and that; of equal ones the smaller rate."""
    found: dict[str, tuple[float, float]] = {}
    for method in settings.METHODS:
        for lr in RATES[method]:
            own = [r["accuracy"] for r in records if r["method"] == method and r["lr"] == lr]
            if own and (method not in found or sum(own) / len(own) > found[method][1]):
                found[method] = (lr, sum(own) / len(own))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines with every try")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--methods", default=",".join(settings.METHODS))
    parser.add_argument("--seed", type=int, default=1, help="another seed adds to the means")
    parser.add_argument("--write", action="store_true", help="put the best rates into the recipes")
    arguments = parser.parse_args()
    known = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    done = {(r["method"], r["lr"], r["seed"]) for r in known}
    methods = arguments.methods.split(",")
    wanted = [(m, lr, arguments.seed) for m in methods for lr in RATES[m] if (m, lr, arguments.seed) not in done]
    with ProcessPoolExecutor(arguments.workers, get_context("spawn"), set_up, (1,)) as pool:
        for future in as_completed(pool.submit(attempt, arguments.backbone, *args) for args in wanted):
            record = future.result()
            append(arguments.out, record)
            known.append(record)
            print(f"{record['method']}, lr {record['lr']:g}, seed {record['seed']}: {record['accuracy']:.1f} % "
                  f"(zero-shot {record.get('zero_shot', 0):.1f} %), {record.get('seconds', 0):.0f} s", flush=True)  # fmt: skip
    for method, (lr, accuracy) in best(known).items():
        print(f"{method}: lr {lr:g}, {accuracy:.1f} % of the validation pictures")
        if arguments.write:
            path = ASSETS / f"{settings.recipe(method)}.json"
            recipe = json.loads(path.read_text())
            recipe["train"]["lr"] = lr
            path.write_text(json.dumps(recipe, indent=1) + "\n")


if __name__ == "__main__":
    main()
