"""Choose the learning rates of the recipes for small backbones, on the demo's validation pictures.

    python recipes/small/tune.py --out grid.jsonl            tries every rate for every method
    python recipes/small/tune.py --out grid.jsonl --write    and puts the best into assets/recipes/small_*.json

Every method has the same number of tries. Trained on 16 pictures per class with everything else as in its
recipe, scored on all validation pictures; the test pictures are never read. Rates in grid.jsonl already are
not tried again.
"""

from __future__ import annotations

import json
from typing import Any

from trying import Try, known, make, parser

from vlprompt.fitting.recipes import FOLDER, load_recipe, recipe_names

# Three for each. Where a step takes all pictures, its rate is the longest step of L-BFGS. AdamW for the others: SGD, as
# published, learned less in so few steps (TFT 13 % against 26 % of the validation pictures), and went astray with a handful
# of classes (few_classes.py). ProDA, which draws some of its prompts for every step, has larger batches than the others
# and bears higher rates.
RATES, HIGHER = (0.0005, 0.002, 0.008), (0.002, 0.008, 0.03)
RATES_OF = {"lbfgs": (0.01, 0.03, 0.1), "muon": (0.005, 0.01, 0.02)}


def small_recipes() -> list[str]:
    return [name for name in recipe_names() if name.startswith("small_")]


def rates(name: str) -> tuple[float, ...]:
    held = load_recipe(name)
    return RATES_OF.get(held.train["optimizer"], HIGHER if held.method == "proda" else RATES)


def best(records: list[dict[str, Any]], name: str) -> tuple[float, float] | None:
    """The rate with the best mean accuracy, and that; of equal ones the smaller rate."""
    found = None
    for lr in rates(name):
        own = [r["accuracy"] for r in records if r["recipe"] == name and r["lr"] == lr]
        if own and (found is None or sum(own) / len(own) > found[1]):
            found = (lr, sum(own) / len(own))
    return found


def main() -> None:
    flags = parser(__doc__.splitlines()[0], small_recipes())
    flags.add_argument("--seed", type=int, default=1, help="another seed adds to the means")
    flags.add_argument("--write", action="store_true", help="put the best rates into the recipes")
    arguments = flags.parse_args()
    wanted = [Try(name, {"lr": lr}, arguments.seed) for name in arguments.recipes for lr in rates(name)]
    for record in make(arguments, wanted):
        print(
            f"{record['recipe']}, lr {record['lr']:g}, seed {record['seed']}: {record['accuracy']:.1f} % "
            f"(zero-shot {record.get('zero_shot', 0):.1f} %), {record.get('seconds', 0):.0f} s",
            flush=True,
        )
    records = known(arguments.out)
    for name in arguments.recipes:
        if (found := best(records, name)) is None:
            continue
        print(f"{name}: lr {found[0]:g}, {found[1]:.1f} % of the validation pictures")
        if arguments.write:
            path = FOLDER / f"{name}.json"
            held = json.loads(path.read_text())
            held["train"]["lr"] = found[0]
            path.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
