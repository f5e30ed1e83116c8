"""How many steps a recipe needs where pictures are few: on the demo's validation pictures.

    python recipes/small/few_pictures.py --out few_pictures.jsonl --recipes small_maple,small_promptsrc

Epochs over a handful of pictures are a handful of steps. Trains with one and four pictures of each of the demo's classes,
with the epochs of the recipe alone and with so many steps at least, and scores on all validation pictures; the test
pictures are never read.
"""

from __future__ import annotations

import statistics

from trying import Try, known, make, parser

# whose steps run through the image tower, or have texts of their own for every picture; others take all pictures in each step
RECIPES = (
    *("small_vpt", "small_maple", "small_promptsrc", "small_mmrl", "small_mmrlpp", "small_clip_lora"),
    *("small_cocoop", "small_ctp_tft"),
)
STEPS = (0, 100, 200, 400)  # 0: as many as the epochs give


def main() -> None:
    flags = parser(__doc__.splitlines()[0], RECIPES)
    flags.add_argument("--shots", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4])
    flags.add_argument("--steps", type=lambda text: [int(n) for n in text.split(",")], default=list(STEPS))
    flags.add_argument("--seeds", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    arguments = flags.parse_args()
    wanted = {
        (name, shots, steps): [
            Try(name, {"least_steps": steps}, seed, shots=shots) for seed in arguments.seeds
        ]
        for name in arguments.recipes
        for shots in arguments.shots
        for steps in arguments.steps
    }
    for _ in make(arguments, [one for tries in wanted.values() for one in tries]):
        pass
    records = known(arguments.out)
    print(f"| recipe | shots | {' | '.join(f'{steps} steps at least' for steps in arguments.steps)} |")
    print("|---|---|" + "---|" * len(arguments.steps))
    for name in arguments.recipes:
        for shots in arguments.shots:
            cells = [
                statistics.mean(
                    next(r["accuracy"] for r in records if one.is_of(r)) for one in wanted[name, shots, steps]
                )
                for steps in arguments.steps
            ]
            print(f"| `{name}` | {shots} | {' | '.join(f'{cell:.1f}' for cell in cells)} |")


if __name__ == "__main__":
    main()
