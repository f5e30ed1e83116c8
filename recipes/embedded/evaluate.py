"""Measure a finished folder on pictures that nothing was trained or chosen on: zero-shot, probe, LAMM; per cent.

    python recipes/embedded/evaluate.py FOLDER EVALUATE [--most 1500] [--lamm] [--json FILE]

EVALUATE holds caltech101.zip, grocery.zip, pacs.zip, eurosat.zip and flowers.zip. 16 pictures a class to learn from.
Half of the pictures (by a sum over their path) are test pictures where a set has no parts of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from judging import names_of
from reading import Backbone
from sentences import encode, padded
from torch import Tensor

SHOTS = 16


def odd(path: str) -> bool:
    return sum(path.encode()) % 2 == 1


@dataclass(frozen=True)
class Task:
    """part: which folder of a path is the class. beginning: of the paths that count. test: which are test pictures."""

    part: int
    beginning: str = ""
    test: Callable[[str], bool] = odd


TASKS = {
    "caltech101": Task(1),
    "grocery": Task(1, test=lambda path: path.startswith("test/")),
    "pacs photo": Task(1, "photo/"),
    "eurosat": Task(1),
    "flowers": Task(0),
    "pacs art_painting": Task(1, "art_painting/"),
    "pacs cartoon": Task(1, "cartoon/"),
    "pacs sketch": Task(1, "sketch/"),
}
LEARNT = ("grocery", "eurosat")


def split(members: list[str], task: Task, most: int) -> tuple[list[str], list[str]]:
    """16 pictures a class, and at most `most` test pictures, drawn with a fixed seed."""
    paths = [p for p in members if p.endswith(".webp") and p.startswith(task.beginning)]
    random.Random(0).shuffle(paths)
    count: dict[str, int] = {}
    train, test = [], []
    for path in paths:
        name = path.split("/")[task.part]
        if task.test(path):
            test.append(path)
        elif count.get(name, 0) < SHOTS:
            count[name] = count.get(name, 0) + 1
            train.append(path)
    return train, test[:most]


def lamm(
    backbone: Backbone,
    features: Tensor,
    labels: Tensor,
    names: list[str],
    steps: int = 200,
    rate: float = 0.01,
) -> Tensor:
    """Class features after learning each name's own token embeddings (LAMM without its further losses), full batches."""
    text = backbone.text
    ids, mask = padded(encode(backbone.tokenizer, names), torch.device("cpu"))
    start = text.token_embedding(ids)
    own = mask.clone()
    own[:, 0] = False  # [CLS]
    own[torch.arange(len(ids)), mask.sum(1) - 1] = False  # [SEP]
    learnt = torch.nn.Parameter(start[own].clone())

    def classes() -> Tensor:
        x = start.masked_scatter(own[..., None].expand_as(start), learnt)
        x = text.ln_embedding(x + text.positional_embedding[: ids.shape[1]])
        for block in text.blocks:
            x = block(x, mask[:, None, None, :])
        weight = mask[..., None].float()
        return text.joint((x * weight).sum(1) / weight.sum(1))

    optimiser = torch.optim.AdamW([learnt], lr=rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(backbone.config["logit_scale"] * features @ classes().T, labels).backward()
        optimiser.step()
        schedule.step()
    return classes().detach()


def measure(
    backbone: Backbone, folder: Path, most: int, with_lamm: bool, tasks: list[str]
) -> dict[str, dict[str, float]]:
    from sklearn.linear_model import LogisticRegression

    results = {}
    for name in tasks:
        task = TASKS[name]
        with zipfile.ZipFile(folder / f"{name.split()[0]}.zip") as archive:
            train, test = split(archive.namelist(), task, most)
            began = time.time()
            features = {
                part: torch.cat(
                    [
                        backbone.pictures([archive.read(p) for p in paths[i : i + 64]], torch.bfloat16)
                        for i in range(0, len(paths), 64)
                    ]
                )
                for part, paths in (("train", train), ("test", test))
            }
        seconds = time.time() - began
        classes = sorted({p.split("/")[task.part] for p in train})
        labels, right = (
            torch.tensor([classes.index(p.split("/")[task.part]) for p in paths]) for paths in (train, test)
        )
        names = [c.replace("_", " ").replace("-", " ").lower() for c in classes]

        def correct(vectors: Tensor, x: Tensor = features["test"], y: Tensor = right) -> float:
            return 100 * float((x @ vectors.T).argmax(1).eq(y).float().mean())

        row = {"zero-shot": correct(names_of(backbone.texts, names))}
        model = LogisticRegression(max_iter=300, C=10).fit((features["train"] * 10).numpy(), labels.numpy())
        row["probe"] = 100 * float(model.score((features["test"] * 10).numpy(), right.numpy()))
        if with_lamm and name in LEARNT:
            row["lamm"] = correct(lamm(backbone, features["train"], labels, names))
        results[name] = row
        figures = ", ".join(f"{kind} {value:.1f}" for kind, value in row.items())
        print(
            f"{name}: {len(classes)} classes, {figures}; {(len(train) + len(test)) / seconds:.0f} pictures/s",
            flush=True,
        )
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("evaluate", type=Path)
    parser.add_argument("--most", type=int, default=1500, help="test pictures of each set")
    parser.add_argument("--lamm", action="store_true", help="LAMM on groceries and EuroSAT too")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    figures = measure(
        Backbone(arguments.folder),
        arguments.evaluate,
        arguments.most,
        arguments.lamm,
        arguments.tasks.split(","),
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
