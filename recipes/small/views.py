"""How many kept views a training picture needs, on the demo's validation pictures: what the default of --views rests on.

    python recipes/small/views.py --out views.jsonl

Every method's small recipe with 16 pictures per class and everything else as it is, over several seeds, scored on all
validation pictures; the test pictures are never read. Prints a table: mean accuracy and sample standard deviation,
and the mean seconds of a run: views are made and encoded in it (no cache), as in a first run on new pictures.
"""

from __future__ import annotations

import statistics

from trying import Try, known, make, parser

VIEWS = ("center", "1", "2", "4", "8", "16", "epoch")


def main() -> None:
    flags = parser(__doc__.splitlines()[0], ("small_coop", "small_lamm", "small_coop_lamm"))
    flags.add_argument("--views", type=lambda text: text.split(","), default=list(VIEWS))
    flags.add_argument(
        "--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3]
    )
    arguments = flags.parse_args()
    recipes, views = arguments.recipes, arguments.views
    for _ in make(
        arguments,
        [Try(r, {"views": v}, s, cache=False) for s in arguments.seeds for r in recipes for v in views],
    ):
        pass
    records = known(arguments.out)
    print(f"| views | {' | '.join(recipes)} |\n|---|{'---|' * len(recipes)}")
    for v in views:
        cells = []
        for r in recipes:
            own = [k for k in records if k["recipe"] == r and k["views"] == v]
            accuracy = [k["accuracy"] for k in own]
            spread = statistics.stdev(accuracy) if len(own) > 1 else 0.0
            seconds = statistics.mean(k["encode_seconds"] + k["seconds"] for k in own)
            cells.append(f"{statistics.mean(accuracy):.1f} ± {spread:.1f} ({seconds:.0f} s)")
        print(f"| {v} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
