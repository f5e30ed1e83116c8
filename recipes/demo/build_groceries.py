"""Builds the demo pictures: twenty kinds of groceries, photographed in shops.

    python recipes/demo/build_groceries.py GROCERIES.zip [--out src/vlprompt/assets/demo]

GROCERIES.zip: the Grocery Store Dataset (Klasson, Zhang, Kjellström, WACV 2019), its photographs as
`SPLIT/<coarse class>/NAME.webp` with a short side of 96 pixels. Its own split stays: training pictures come from
its train part, test pictures from its test part, validation pictures from its val part and, where that holds too
few, from training pictures that are left over. Which pictures: the first ones in an order that depends on nothing
but their names. Their bytes are taken as they are.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import zipfile
from pathlib import Path

# chosen by name alone: things that anybody can tell apart
CLASSES = (
    "Apple",
    "Avocado",
    "Banana",
    "Carrots",
    "Cucumber",
    "Juice",
    "Kiwi",
    "Lemon",
    "Lime",
    "Mango",
    "Melon",
    "Milk",
    "Mushroom",
    "Onion",
    "Orange",
    "Pear",
    "Pepper",
    "Pineapple",
    "Potato",
    "Tomato",
)
TRAIN, VALIDATION, TEST = 20, 5, 16  # pictures of each class
SINGULAR = {"Carrots": "carrot"}


def shuffled(names: list[str]) -> list[str]:
    """The names in an order that depends on nothing but the names."""
    return sorted(names, key=lambda name: hashlib.sha256(f"groceries {name}".encode()).hexdigest())


def choose(parts: dict[str, list[str]]) -> dict[str, list[str]]:
    """Of one class: part -> chosen paths. parts: what the data set has in train, val and test."""
    train = shuffled(parts["train"])
    validation = shuffled(parts["val"])[:VALIDATION]
    spare = VALIDATION - len(validation)
    if len(train) < TRAIN + spare or len(parts["test"]) < TEST:
        raise SystemExit(f"too few pictures: { {k: len(v) for k, v in parts.items()} }")
    validation += train[TRAIN : TRAIN + spare]
    return {"train": train[:TRAIN], "val": validation, "test": shuffled(parts["test"])[:TEST]}


def build(groceries: Path, out: Path) -> None:
    pictures: dict[str, bytes] = {}
    rows = []
    with zipfile.ZipFile(groceries) as archive:
        paths = [name for name in archive.namelist() if name.endswith(".webp")]
        for label in CLASSES:
            word = SINGULAR.get(label, label.lower())
            parts = {p: [n for n in paths if n.startswith(f"{p}/{label}/")] for p in ("train", "val", "test")}
            for part, chosen in choose(parts).items():
                for path in chosen:
                    name = f"{part}/{word}/{Path(path).name}"
                    pictures[name] = archive.read(path)
                    rows.append((name, word, part))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "split"))
    writer.writerows(sorted(rows))
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out / "groceries.zip", "w", zipfile.ZIP_STORED) as packed:
        for path, data in [("labels.csv", text.getvalue().encode()), *sorted(pictures.items())]:
            packed.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), data)
    size = (out / "groceries.zip").stat().st_size
    print(f"{len(CLASSES)} classes, {len(rows)} pictures, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groceries", type=Path)
    parser.add_argument("--out", type=Path, default=Path("src/vlprompt/assets/demo"))
    arguments = parser.parse_args()
    build(arguments.groceries, arguments.out)
