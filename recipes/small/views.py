"""How many kept views a training picture needs, on the demo's validation pictures: what the default of --views rests on.

    python recipes/small/views.py --out views.jsonl

Every method's small recipe with 16 pictures per class and everything else as it is, over several seeds, scored on all
validation pictures; the test pictures are never read. Prints a table: mean accuracy and sample standard deviation,
and the mean seconds of a run: views are made and encoded in it (no cache), as in a first run on new pictures.
"""

from __future__ import annotations

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tune import attempt

from vlprompt.demo.jobs import cores, set_up
from vlprompt.results.records import append

VIEWS = ("center", "1", "2", "4", "8", "16", "epoch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines with every run")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--recipes", default="small_coop,small_lamm,small_coop_lamm")
    parser.add_argument("--views", default=",".join(VIEWS))
    parser.add_argument("--seeds", default="1,2,3")
    arguments = parser.parse_args()
    recipes, views = arguments.recipes.split(","), arguments.views.split(",")
    known = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    done = {(r["recipe"], r["views"], r["seed"]) for r in known}
    wanted = [(r, v, int(s)) for s in arguments.seeds.split(",") for r in recipes for v in views]
    with ProcessPoolExecutor(arguments.workers, get_context("spawn"), set_up, (1,)) as pool:
        common = arguments.backbone, arguments.precision
        tries = [pool.submit(attempt, *common, r, {"views": v}, s, False) for r, v, s in wanted if (r, v, s) not in done]
        for future in as_completed(tries):
            append(arguments.out, future.result())
            known.append(future.result())
    print(f"| views | {' | '.join(recipes)} |\n|---|{'---|' * len(recipes)}")
    for v in views:
        cells = []
        for r in recipes:
            own = [k for k in known if k["recipe"] == r and k["views"] == v]
            accuracy = [k["accuracy"] for k in own]
            spread = statistics.stdev(accuracy) if len(own) > 1 else 0.0
            seconds = statistics.mean(k["encode_seconds"] + k["seconds"] for k in own)
            cells.append(f"{statistics.mean(accuracy):.1f} ± {spread:.1f} ({seconds:.0f} s)")
        print(f"| {v} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
