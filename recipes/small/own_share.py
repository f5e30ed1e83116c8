"""How much a class may learn beside its name where pictures are few: the bilinear probe's `own`.

    python recipes/small/own_share.py                                the demo's training and validation pictures
    python recipes/small/own_share.py --pictures photos.zip          beside them others, that judge nothing else

With one, two and four pictures of each class, the rest of the pictures is judged. The demo's classes have their own names, Finnish
ones, of which the embedded backbone knows few, and codes, of which it knows none; so have the other pictures, but for the
Finnish ones. The demo's test pictures are never read.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path

import torch
from schedules import FINNISH

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.loading import load_backbone
from vlprompt.data.dataset import Item
from vlprompt.data.opening import open_dataset
from vlprompt.data.task import Task
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder, FeatureInputs
from vlprompt.fitting.lesson import get_ready
from vlprompt.seeds import generator

SHOTS = (1, 2, 4)
DRAWS = 6
OTHERS = [("linear_probe", {"strength": 10.0})]
GRID = [
    ("bilinear_probe", {"strength": strength, "own": own})
    for own in (0.3, 1.0, 3.0, 10.0)
    for strength in (10.0, 100.0)
]


def encoded(place: str, splits: list[str], backbone: Backbone) -> tuple[FeatureInputs, list[str]]:
    dataset = open_dataset(place)
    items: list[Item] = [item for split in splits for item in dataset.items(split)]
    encoder = Encoder(dataset, backbone, cache=FeatureCache(True), emit=lambda record: None)
    return encoder.features(items, what=f"pictures of {dataset.name}"), list(dataset.class_names)


def accuracies(
    inputs: FeatureInputs, names: list[str], backbone: Backbone, shots: int
) -> Iterator[list[float]]:
    """Per cent of what was not learned, of each kind of probe, a draw at a time."""
    task = Task(tuple(names), ("a photo of a {}.",), shots)
    for draw in range(DRAWS):
        order = torch.randperm(len(inputs), generator=generator(draw, "own share"))
        learned = torch.cat([order[inputs.labels[order] == c][:shots] for c in range(len(names))])
        rest = torch.ones(len(inputs), dtype=torch.bool)
        rest[learned] = False
        judged, found = inputs.part(rest.nonzero().flatten()), []
        for name, options in GRID + OTHERS:
            probe = methods.load(name).build(backbone, task, options)
            get_ready(probe, inputs.part(learned), None)
            with torch.no_grad():
                said = probe.eval()(judged.batch(torch.arange(len(judged)))).logits.argmax(1)
            found.append(100 * (said.cpu() == judged.labels).double().mean().item())
        yield found


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--backbone", default="embedded")
    flags.add_argument(
        "--pictures", type=Path, help="a data set whose test pictures are learned from and judged"
    )
    arguments = flags.parse_args()
    backbone = load_backbone(arguments.backbone)
    demo, names = encoded("demo", ["train", "val"], backbone)
    kinds = [
        ("demo", demo, names),
        ("Finnish names", demo, FINNISH.split()),
        ("codes", demo, [f"k{37 * n % 101:02d}" for n in range(len(names))]),
    ]
    if arguments.pictures:
        other, own = encoded(str(arguments.pictures), ["test"], backbone)
        kinds += [
            (arguments.pictures.stem, other, [name.split(",")[0] for name in own]),
            (
                f"{arguments.pictures.stem}, codes",
                other,
                [f"k{3137 * n % 9973:04d}" for n in range(len(own))],
            ),
        ]
    heads = [f"{options['own']:g}, {options['strength']:g}" for _, options in GRID]
    print("| names | pictures | " + " | ".join(heads) + " | linear probe |")
    print("|---|---|" + "---|" * (len(GRID) + len(OTHERS)))
    for title, inputs, spoken in kinds:
        for shots in SHOTS:
            columns = zip(*accuracies(inputs, spoken, backbone, shots), strict=True)
            cells = " | ".join(f"{statistics.mean(column):.1f}" for column in columns)
            print(f"| {title} | {shots} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
