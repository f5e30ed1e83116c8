"""How much LAMM's further losses weigh on a small backbone, on the demo's validation pictures.

    python recipes/small/terms.py --out terms.jsonl

Factors of the paper's weights at 16 shots (1/16, 1 and 0.05), above 0, with everything else as in the recipes, over several
seeds; scored on all validation pictures. Prints mean accuracy and sample standard deviation of each.
"""

from __future__ import annotations

import statistics

from trying import Try, known, make, parser

PAPER = {"parameter_weight": 1 / 16, "feature_weight": 1.0, "logits_weight": 0.05}


def times(factor: float) -> dict[str, float]:
    return {name: weight * factor for name, weight in PAPER.items()}


def main() -> None:
    flags = parser(__doc__.splitlines()[0], ("small_lamm", "small_coop_lamm"))
    flags.add_argument(
        "--factors", type=lambda text: [float(one) for one in text.split(",")], default=[1, 0.3, 0.1, 0.03]
    )
    flags.add_argument(
        "--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3]
    )
    arguments = flags.parse_args()
    wanted = {
        (recipe, factor): [Try(recipe, {}, seed, options=times(factor)) for seed in arguments.seeds]
        for recipe in arguments.recipes
        for factor in arguments.factors
    }
    for _ in make(arguments, [one for tries in wanted.values() for one in tries]):
        pass
    records = known(arguments.out)
    for (recipe, factor), tries in wanted.items():
        own = [record["accuracy"] for record in records if any(one.is_of(record) for one in tries)]
        spread = statistics.stdev(own) if len(own) > 1 else 0.0
        print(f"{recipe}, {factor:g} of the paper's weights: {statistics.mean(own):.1f} ± {spread:.1f} %")


if __name__ == "__main__":
    main()
