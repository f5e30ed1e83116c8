"""Whether trainings stay on their way with a handful of classes, as in the studio: on the demo's validation pictures.

    python recipes/small/few_classes.py --out few_classes.jsonl

Draws classes of the demo and a few training pictures of each, trains as the studio does with its start values, but with
L-BFGS, SGD and AdamW, and scores on the validation pictures of those classes; the test pictures
are never read. Prints, per setting, the mean accuracy, and the mean of the highest loss of an epoch over the first
one: above 1, a training went astray on its way.
"""

from __future__ import annotations

import argparse
import random
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from trying import known

from vlprompt import open_dataset
from vlprompt.backbones.loading import load_backbone
from vlprompt.data.sampling import draw
from vlprompt.fitting.learning import learn
from vlprompt.fitting.plan import make_plan
from vlprompt.runs.records import append
from vlprompt.studio import forms
from vlprompt.studio.limits import Limits

METHODS = ("coop+lamm", "lamm", "coop")
CLASSES, SHOTS = 4, 9
# On the start values of the studio, whose rate is constant and whose steps take all pictures.
SETTINGS: tuple[dict[str, Any], ...] = (
    {"optimizer": "lbfgs", "lr": 0.01},
    {"optimizer": "lbfgs", "lr": 0.03},
    {"optimizer": "lbfgs", "lr": 0.1},
    {"optimizer": "sgd", "lr": 0.1, "schedule": "epoch"},
    {"optimizer": "adamw", "lr": 0.03, "schedule": "epoch"},
)


def try_one(method: str, setting: dict[str, Any], seed: int) -> dict[str, Any]:
    """Trains once on a draw of classes; accuracy and losses."""
    rows = forms.rows(method, Limits())
    options, train = forms.read(rows, [row.value for row in rows])
    whole = open_dataset("demo")
    labels = sorted(random.Random(seed).sample(range(len(whole.class_names)), CLASSES))
    names = tuple(whole.class_names[label] for label in labels)
    kept = {
        split: [
            replace(item, label=labels.index(item.label))
            for item in whole.items(source)
            if item.label in labels
        ]
        for split, source in (("train", "train"), ("test", "val"))
    }
    dataset = replace(whole, class_names=names, class_keys=names, splits=kept)
    losses: list[float] = []
    run = learn(
        dataset,
        draw(dataset, shots=SHOTS, seed=seed),
        load_backbone(),
        make_plan(method, options, train | setting),
        on_record=lambda record: losses.append(record["loss"]) if record["event"] == "epoch" else None,
    )
    return {
        "method": method,
        **setting,
        "seed": seed,
        "accuracy": run.scores["test"]["accuracy"],
        "zero_shot": run.scores["zero_shot"]["accuracy"],
        "rise": max(losses) / losses[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON lines with every try; those in it are not made again"
    )
    parser.add_argument("--draws", type=int, default=8)
    arguments = parser.parse_args()
    print(
        "| method | zero-shot |"
        + "".join(f" {' '.join(map(str, setting.values()))} |" for setting in SETTINGS)
    )
    print("|---|---|" + "---|" * len(SETTINGS))
    records = known(arguments.out)
    for method in METHODS:
        cells, alone = [], 0.0
        for setting in SETTINGS:
            found = []
            for seed in range(1, arguments.draws + 1):
                wanted = {"method": method, **setting, "seed": seed}
                held = next((r for r in records if r.items() >= wanted.items()), None)
                if held is None:
                    append(arguments.out, held := try_one(method, setting, seed))
                found.append(held)
            alone = statistics.mean(one["zero_shot"] for one in found)
            accuracy, rise = (statistics.mean(one[key] for one in found) for key in ("accuracy", "rise"))
            cells.append(f" {accuracy:.1f} (loss x{rise:.1f}) |")
        print(f"| {method} | {alone:.1f} |{''.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
