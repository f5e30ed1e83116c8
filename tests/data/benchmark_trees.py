"""Small trees in the layout of the benchmark data sets, as CoOp's data instructions lay them out."""

from __future__ import annotations

import json
from pathlib import Path

from making import png

from vlprompt.data.catalog import find

SPLITS = ("train", "val", "test")
# two classes of each data set that has a split file: path of a picture below its folder, name in the split file
PICTURES = {
    "caltech101": ("Faces/image_{:04d}.jpg face", "car_side/image_{:04d}.jpg car_side"),
    "oxford_pets": ("Abyssinian_{}.jpg abyssinian", "great_pyrenees_{}.jpg great_pyrenees"),
    "stanford_cars": (
        "cars_train/{:05d}.jpg 2012 Tesla Model S",
        "cars_test/{:05d}.jpg 2000 AM General Hummer SUV",
    ),
    "oxford_flowers": ("image_{:05d}.jpg pink primrose", "image_9{:04d}.jpg hard-leaved pocket orchid"),
    "food101": ("apple_pie/{}.jpg apple_pie", "baby_back_ribs/{}.jpg baby_back_ribs"),
    "sun397": ("a/abbey/sun_{}.jpg abbey", "a/apse/indoor/sun_{}.jpg indoor apse"),
    "dtd": ("banded/banded_{:04d}.jpg banded", "zigzagged/zigzagged_{:04d}.jpg zigzagged"),
    "eurosat": ("AnnualCrop/AnnualCrop_{}.jpg Annual Crop Land", "SeaLake/SeaLake_{}.jpg Sea or Lake"),
    "ucf101": ("Apply_Eye_Makeup/v_{}.jpg Apply_Eye_Makeup", "Archery/v_{}.jpg Archery"),
}
CLASSNAMES = "n01440764 tench\nn01443537 goldfish\nn03773504 missile\nn04008634 missile\n"


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def tree(name: str) -> dict[str, bytes | str]:
    """Files of a data set with a split file, two pictures of each class in every split."""
    entry = find(name)
    folder = "" if name == "stanford_cars" else entry.pictures.path
    split: dict[str, list[list[object]]] = {part: [] for part in SPLITS}
    files: dict[str, bytes | str] = {}
    for label, told in enumerate(PICTURES[name]):
        path, _, words = told.partition(" ")
        for number in range(6):
            file = path.format(number)
            files[folder + file] = png(file, format="JPEG")
            split[SPLITS[number // 2]].append([file, label, words])
    assert entry.split is not None
    files[entry.split.path] = json.dumps(split)
    return files


def imagenet_tree(name: str = "imagenet", classes: int = 4) -> dict[str, bytes | str]:
    """ImageNet with two pictures of each of four classes in train and val, or a variant of some of the classes."""
    entry = find(name)
    keys = [line.split(" ")[0] for line in CLASSNAMES.splitlines()]
    chosen = keys[-classes:]
    folders = [
        f"{entry.pictures.path}{str(keys.index(key)) if name == 'imagenetv2' else key}/" for key in chosen
    ]
    if name == "imagenet":
        folders = [f"images/{part}/{key}/" for part in ("train", "val") for key in chosen]
    return {
        f"{folder}{i}.JPEG": png(f"{name}{folder}{i}", format="JPEG") for folder in folders for i in (0, 1)
    } | {"classnames.txt": CLASSNAMES}
