"""Measure an exported folder: zero-shot accuracy and 16-shot logistic regression, in per cent.

    python recipes/embedded/evaluate.py FOLDER EVALUATE [--json FILE]

EVALUATE holds `caltech101.zip`, `grocery.zip` and `pacs.zip`. Nothing here is used for training or
for choosing settings.
"""

import argparse
import csv
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

TEMPLATES = (
    "a photo of a {}.",
    "a picture of a {}.",
    "a close-up photo of a {}.",
    "a photo of the {}.",
    "a {}",
    "{}",
)
SHOTS, SEEDS, STRENGTH = 16, (1, 2, 3), 1.0


@dataclass(frozen=True)
class Task:
    """Pictures by path in the archive with labels among `names`; `train` may be empty."""

    archive: Path
    names: list[str]
    train: list[tuple[str, int]]
    test: list[tuple[str, int]]


def caltech101(folder: Path) -> Task:
    with zipfile.ZipFile(folder / "caltech101.zip") as archive:
        member = next(n for n in archive.namelist() if n.endswith("split_own_Caltech101.json"))
        split = json.loads(archive.read(member))
        known = set(archive.namelist())
    names = {label: name for rows in split.values() for _, label, name in rows}

    def place(path: str) -> str:
        return path if path in known else f"101_ObjectCategories/{path}"

    train, test = ([(place(p), label) for p, label, _ in split[part]] for part in ("train", "test"))
    return Task(folder / "caltech101.zip", [names[i].replace("_", " ") for i in sorted(names)], train, test)


def grocery(folder: Path) -> Task:
    with zipfile.ZipFile(folder / "grocery.zip") as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), "utf-8")))
    names = sorted({row["coarse"] for row in rows})
    parts = {
        part: [
            (row["path"], names.index(row["coarse"])) for row in rows if row["path"].startswith(f"{part}/")
        ]
        for part in ("train", "test")
    }
    return Task(
        folder / "grocery.zip",
        [n.replace("-", " ").replace("_", " ") for n in names],
        parts["train"],
        parts["test"],
    )


def pacs(domain: str) -> Callable[[Path], Task]:
    def load(folder: Path) -> Task:
        with zipfile.ZipFile(folder / "pacs.zip") as archive:
            paths = [n for n in archive.namelist() if n.startswith(f"{domain}/") and n.endswith(".webp")]
        names = sorted({p.split("/")[1] for p in paths})
        return Task(folder / "pacs.zip", names, [], [(p, names.index(p.split("/")[1])) for p in paths])

    return load


TASKS: dict[str, Callable[[Path], Task]] = {
    "caltech101": caltech101,
    "grocery coarse": grocery,
    "pacs photo": pacs("photo"),
    "pacs art_painting": pacs("art_painting"),
    "pacs cartoon": pacs("cartoon"),
    "pacs sketch": pacs("sketch"),
}


class Backbone:
    """The exported folder in `transformers`."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, CLIPModel

        self.model = CLIPModel.from_pretrained(folder, torch_dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.steps = json.loads((folder / "preprocessor_config.json").read_text())

    def _pixels(self, data: bytes) -> torch.Tensor:
        image, size = Image.open(io.BytesIO(data)).convert("RGB"), self.steps["crop_size"]["height"]
        width, height = image.size
        scale = size / min(width, height)
        image = image.resize(
            (max(size, int(width * scale)), max(size, int(height * scale))), Image.Resampling.BICUBIC
        )
        left, top = (image.width - size) // 2, (image.height - size) // 2
        array = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / 255
        return torch.from_numpy(
            (array - np.float32(self.steps["image_mean"])) / np.float32(self.steps["image_std"])
        ).permute(2, 0, 1)

    @torch.no_grad()
    def images(self, archive: Path, paths: list[str]) -> torch.Tensor:
        """Unit-length features [N, D]."""
        out = []
        with zipfile.ZipFile(archive) as files:
            for start in range(0, len(paths), 256):
                x = torch.stack([self._pixels(files.read(p)) for p in paths[start : start + 256]])
                out.append(
                    self.model.visual_projection(self.model.vision_model(pixel_values=x).pooler_output)
                )
        return torch.nn.functional.normalize(torch.cat(out), dim=1)

    @torch.no_grad()
    def classes(self, names: list[str]) -> torch.Tensor:
        """Mean over the templates, unit length, [C, D]."""
        total = 0
        for template in TEMPLATES:
            inputs = self.tokenizer([template.format(n) for n in names], padding=True, return_tensors="pt")
            features = self.model.text_projection(self.model.text_model(**inputs).pooler_output)
            total = total + torch.nn.functional.normalize(features, dim=1)
        return torch.nn.functional.normalize(total, dim=1)


def probe(
    train: torch.Tensor, train_labels: np.ndarray, test: torch.Tensor, test_labels: np.ndarray, seed: int
) -> float:
    """Accuracy of logistic regression on standardised features of at most 16 pictures a class."""
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(seed)
    rows = np.concatenate(
        [draw.permutation(np.flatnonzero(train_labels == c))[:SHOTS] for c in np.unique(train_labels)]
    )
    x = train[torch.from_numpy(rows)]
    mean, std = x.mean(0), x.std(0)
    # Divided by the root of the width, so that `STRENGTH` means the same for any width.
    scaled, scaled_test = (((y - mean) / std / y.shape[1] ** 0.5).numpy() for y in (x, test))
    model = LogisticRegression(C=STRENGTH, max_iter=500).fit(scaled, train_labels[rows])
    return float((model.predict(scaled_test) == test_labels).mean())


def evaluate(folder: Path, data: Path) -> dict[str, dict[str, float]]:
    """{task: {"zero_shot": per cent, "probe": mean per cent over the seeds}}."""
    backbone, results = Backbone(folder), {}
    for name, load in TASKS.items():
        task = load(data)
        test, labels = (
            backbone.images(task.archive, [p for p, _ in task.test]),
            np.array([y for _, y in task.test]),
        )
        guess = (test @ backbone.classes(task.names).T).argmax(1).numpy()
        row = {"zero_shot": 100 * float((guess == labels).mean())}
        if task.train:
            train = backbone.images(task.archive, [p for p, _ in task.train])
            train_labels = np.array([y for _, y in task.train])
            row["probe"] = 100 * float(
                np.mean([probe(train, train_labels, test, labels, seed) for seed in SEEDS])
            )
        results[name] = row
        print(name, {k: round(v, 1) for k, v in row.items()}, flush=True)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("evaluate", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    measured = evaluate(arguments.folder, arguments.evaluate)
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=2) + "\n")
