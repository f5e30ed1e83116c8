"""What `vlprompt fit photos/` is worth beside methods one could name: folders of a few classes, judged on unseen pictures.

    python benchmarks/folders.py grocery.zip:fine caltech101.zip flowers.zip --json >> rows.jsonl
    python benchmarks/folders.py --rows rows.jsonl                 the table of such rows

A source is anything that `vlprompt fit` reads; `:COLUMN` behind it names the column of labels. Each seed chooses six of its
classes that have pictures enough, and writes a folder with a folder for each class, of the first n of a fixed order
of training pictures, so that a larger folder holds a smaller one. Unseen are other pictures of the same classes: of the
source's own test split where it has one, else those that are in no folder. `default` is what `fit` does when no
method is named; the others are forced with `--method`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from reporting import processor, read_rows

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.loading import load_backbone
from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.opening import open_dataset
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.fitting.learning import fit
from vlprompt.fitting.measuring import Measure

DEFAULT, ZERO_SHOT, PROBE = "default", "zeroshot", "linear_probe"
METHODS = (DEFAULT, ZERO_SHOT, PROBE, "coop+lamm")
MOST_LEARNED = 20  # pictures of a class that are kept to learn from, however few are asked for
FEWEST_UNSEEN, MOST_UNSEEN = 8, 40  # pictures of a class


@dataclass(frozen=True)
class Folder:
    """learned: pictures of each class in a fixed order, to take the first of. unseen: of the same classes."""

    source: Dataset
    name: str
    seed: int
    learned: dict[str, list[Item]]
    unseen: dict[str, list[Item]]

    def write(self, place: Path, count: int) -> tuple[Path, Path]:
        """(pictures to learn from, `count` of each class; unseen ones), as folders of class folders."""
        shown, kept = place / f"{count}" / "photos", place / "unseen"
        for root, classes in ((shown, {c: i[:count] for c, i in self.learned.items()}), (kept, self.unseen)):
            for name, items in classes.items():
                (root / name).mkdir(parents=True, exist_ok=True)
                for number, item in enumerate(items):
                    (root / name / f"{number:03d}{Path(item.path).suffix}").write_bytes(
                        self.source.read(item)
                    )
        return shown, kept


def folders(text: str, classes: int, most: int, seeds: Sequence[int]) -> Iterator[Folder]:
    """The folders of one source. most: pictures of a class that the largest of them holds."""
    path, _, column = text.partition(":")
    source = open_dataset(path, label_column=column or None)
    own_test = source.split_kind != "drawn" and "test" in source.splits
    for seed in seeds:
        rng = random.Random(f"{seed} {source.name} {column}")
        by_class: dict[int, tuple[list[Item], list[Item]]] = {}
        for label in range(len(source.class_names)):
            items = {split: [i for i in found if i.label == label] for split, found in source.splits.items()}
            pool = [
                item for split, found in items.items() if split != "test" or not own_test for item in found
            ]
            rng.shuffle(pool)
            test = items.get("test", []) if own_test else pool[most:]
            if len(pool) >= most and len(test) >= FEWEST_UNSEEN:
                by_class[label] = pool[:most], test[:MOST_UNSEEN]
        if len(by_class) < classes:
            raise SystemExit(
                f"{text}: {len(by_class)} classes have pictures enough, and {classes} are wanted"
            )
        drawn = sorted(rng.sample(sorted(by_class), classes))
        names = [source.class_names[label].replace("/", " ") for label in drawn]
        yield Folder(
            source,
            f"{source.name}:{column}" if column else source.name,
            seed,
            {name: by_class[label][0] for name, label in zip(names, drawn, strict=True)},
            {name: by_class[label][1] for name, label in zip(names, drawn, strict=True)},
        )


def judged(
    folder: Folder, shots: Iterable[int], names: Sequence[str], backbone: Backbone, cache: FeatureCache
) -> Iterator[dict[str, Any]]:
    """A row for each number of pictures and each method."""
    with tempfile.TemporaryDirectory() as place:
        for count in shots:
            shown, kept = folder.write(Path(place), count)
            unseen = open_dataset(kept, val_fraction=0.0, test_fraction=0.0)
            for name in names:
                chosen = name == DEFAULT
                began = time.perf_counter()
                run = fit(
                    shown,
                    None if chosen else name,
                    backbone,
                    measure=Measure() if chosen else Measure(folds=0),
                    cache=cache,
                )
                seconds = time.perf_counter() - began
                row = {
                    "what": "folders",
                    "source": folder.name,
                    "seed": folder.seed,
                    "classes": list(folder.learned),
                    "shots": count,
                    "method": name,
                    "accuracy": round(run.evaluate(unseen, "train", cache=cache).accuracy, 2),
                    "unseen": len(unseen.items("train")),
                    "seconds": round(seconds, 2),
                    "backbone": backbone.fingerprint,
                    "machine": processor(),
                }
                if run.info.choice is not None:
                    row["chosen"] = run.info.choice.chosen
                yield row


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Mean accuracy by number of pictures: a line for each source and one for all, a column for each method."""
    rows = list({(r["source"], r["seed"], r["shots"], r["method"]): r for r in rows}.values())
    names = list(dict.fromkeys(row["method"] for row in rows))
    cells: dict[tuple[int, str, str], list[float]] = defaultdict(list)
    for row in rows:
        for source in (row["source"], "all"):
            cells[row["shots"], source, row["method"]].append(row["accuracy"])
    lines = [
        f"| pictures a class | source | folders | {' | '.join(names)} |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for shots in sorted({row["shots"] for row in rows}):
        for source in [*dict.fromkeys(row["source"] for row in rows), "all"]:
            found = [cells[shots, source, name] for name in names]
            means = [f"{statistics.mean(values):.1f}" if values else "" for values in found]
            lines.append(f"| {shots} | {source} | {max(map(len, found))} | {' | '.join(means)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="*", metavar="PATH[:COLUMN]")
    parser.add_argument("--rows", type=Path, help="print the table of rows that --json wrote, and end")
    parser.add_argument("--seeds", type=lambda s: [int(n) for n in s.split(",")], default=[1, 2, 3, 4])
    parser.add_argument("--shots", type=lambda s: [int(n) for n in s.split(",")], default=[3, 5, 10, 20])
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--methods", type=lambda s: s.split(","), default=list(METHODS))
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--cache", type=Path, help="folder of kept features; the usual one if not given")
    parser.add_argument("--json", action="store_true", help="a row for each run, as soon as it is there")
    args = parser.parse_args()
    if args.rows is not None:
        print(table(read_rows([args.rows])))
        return 0
    if not args.sources:
        parser.error("give sources of pictures, or --rows")
    backbone, cache = load_backbone(args.backbone), FeatureCache(args.cache)
    rows = []
    for source in args.sources:
        for folder in folders(source, args.classes, max(MOST_LEARNED, *args.shots), args.seeds):
            for row in judged(folder, args.shots, args.methods, backbone, cache):
                rows.append(row)
                if args.json:
                    print(json.dumps(row, ensure_ascii=False), flush=True)
    if not args.json:
        print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
