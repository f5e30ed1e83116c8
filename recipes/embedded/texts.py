"""Texts to learn from: WordNet's nouns, and the names of the 1,000 ImageNet classes.

WordNet 3.0 is read from its database files (Debian package `wordnet-base`). An ImageNet id is a WordNet 3.0
offset, so `imagenet_wnids.txt` (the classes in EfficientNet's order) is all we add.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CONCRETE = (
    5,
    6,
    8,
    13,
    17,
    18,
    20,
    27,
)  # lexicographer files: animal, artefact, body, food, nature, person, plant, material
TEMPLATES = ("{}", "a photo of a {}.", "a picture of a {}.")


@dataclass(frozen=True)
class Concept:
    """A noun sense: names (most usual first), the first clause of its gloss, kind (lexicographer file), parents."""

    names: tuple[str, ...]
    gloss: str
    kind: int
    parents: tuple[str, ...]


def wordnet(folder: Path) -> dict[str, Concept]:
    """Every noun sense by its id ("n02084071")."""
    concepts = {}
    for line in (folder / "data.noun").read_text("utf-8").splitlines():
        if line.startswith(" "):  # the licence at the top
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        words = int(fields[3], 16)
        names = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(words))
        pointers = fields[5 + 2 * words :]
        parents = tuple("n" + pointers[i + 1] for i, p in enumerate(pointers) if p in ("@", "@i"))
        concepts["n" + fields[0]] = Concept(
            names, re.split(r"; |;? \"", gloss.strip())[0], int(fields[1]), parents
        )
    return concepts


def imagenet_ids() -> list[str]:
    """WordNet ids of the 1,000 classes, in EfficientNet's order."""
    return (Path(__file__).parent / "imagenet_wnids.txt").read_text().split()


def leaves(concepts: dict[str, Concept], ids: list[str]) -> dict[str, list[int]]:
    """Every wider concept ("fruit") with the rows of the classes below it, where there are at least two."""
    below: dict[str, set[int]] = {}
    for row, key in enumerate(ids):
        wider = list(concepts[key].parents)
        while wider:
            parent = wider.pop()
            below.setdefault(parent, set()).add(row)
            wider += concepts[parent].parents
    return {key: sorted(rows) for key, rows in below.items() if len(rows) > 1 and key not in ids}
