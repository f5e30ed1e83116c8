"""PromptClassifier on data sets of one's own: accuracy on their test pictures, and how long it took.

    python benchmarks/classifier.py caltech101.zip eurosat.zip flowers.zip grocery.zip:coarse pacs/photo
    python benchmarks/classifier.py photos/ --methods auto,linear_probe,lamm --shots 4 --seeds 1,2,3 --json

A set is whatever `open_dataset` opens; what follows a colon names the column of its labels. Sets that come undivided are
divided (half of the pictures to learn from, `--most` of the others to test with). Zero-shot is measured on the same pictures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from reporting import processor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))


def pictures(
    spec: str, most: int, seed: int, shots: int
) -> tuple[list[bytes], list[str], list[bytes], list[str]]:
    """Training pictures and their names, `shots` of every class, and at most so many for testing."""
    from vlprompt.data.opening import open_dataset
    from vlprompt.data.sampling import draw

    path, _, column = spec.partition(":")
    with open_dataset(path, **({"label_column": column} if column else {})) as data:
        split = draw(data, shots=shots, seed=seed)
        chosen = np.random.default_rng(0).permutation(len(split.test))[:most]
        parts = [split.train, [split.test[i] for i in sorted(chosen)]]
        found: list[Any] = []
        for items in parts:
            found += [[data.read(item) for item in items], [split.class_names[item.label] for item in items]]
    return tuple(found)  # type: ignore[return-value]


def measure(
    spec: str, method: str, options: dict[str, Any], seeds: list[int], shots: int, most: int
) -> dict[str, Any]:
    """A row: means over the seeds in per cent."""
    from vlprompt import PromptClassifier
    from vlprompt.data.task import ZERO_SHOT_TEMPLATES

    templates = ZERO_SHOT_TEMPLATES if method == "zeroshot" else None  # as it is shown beside every run
    right, seconds, chosen = [], [], []
    for seed in seeds:
        x, y, test_x, test_y = pictures(spec, most, seed, shots)
        began = time.perf_counter()
        classifier = PromptClassifier(method, options=options, seed=seed, templates=templates).fit(x, y)
        seconds.append(time.perf_counter() - began)
        right.append(100 * float(np.mean(classifier.predict(test_x) == np.array(test_y))))
        choice = classifier.run_.info.choice
        chosen.append(choice.chosen if choice is not None else "")
    return {
        "set": spec,
        "method": method,
        "options": options,
        "shots": shots,
        "seeds": len(seeds),
        "classes": len(set(y)),
        "pictures": len(test_y),
        "accuracy": round(statistics.mean(right), 2),
        "deviation": round(statistics.stdev(right), 2) if len(right) > 1 else None,
        "fit_s": round(statistics.mean(seconds), 1),
        "chosen": chosen[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+")
    parser.add_argument(
        "--methods", type=lambda s: s.split(","), default=["zeroshot", "linear_probe", "lamm", "auto"]
    )
    parser.add_argument(
        "--options", type=json.loads, default={}, help="of a single method, over its recipe, as JSON"
    )
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--seeds", type=lambda s: [int(n) for n in s.split(",")], default=[1])
    parser.add_argument("--most", type=int, default=1500, help="test pictures of a set")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.json:
        print(f"{processor()}, {args.shots} pictures a class, {len(args.seeds)} seeds")
    for spec in args.sets:
        for method in args.methods:
            row = measure(spec, method, args.options, args.seeds, args.shots, args.most)
            said = (
                f"{row['set']:>24} {row['method']:>14} {row['accuracy']:6.1f} "
                f"{row['deviation'] or '':>5} {row['fit_s']:7.1f} s  {row['chosen']}"
            )
            print(json.dumps(row) if args.json else said, flush=True)


if __name__ == "__main__":
    main()
