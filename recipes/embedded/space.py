"""Where image features are to lie: the text tower's space, or its teacher's while the tower is not ready.

The tower learns to agree with its (centred) teacher, so both spaces are one up to the tower's error:
image training can begin in the teacher's and end in the tower's.
"""

from pathlib import Path
from typing import Protocol

import text_teacher
import texts
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from towers import TextTower
from train_text import encode

TEMPLATES = (
    "{}",
    "a photo of a {}.",
    "a picture of a {}.",
    "a close-up photo of a {}.",
    "a photo of the {}.",
    "a drawing of a {}.",
)


class Space(Protocol):
    """Texts to unit-length features [N, embed_dim]."""

    def lines(self, lines: list[str]) -> Tensor:
        """Texts as they are."""

    def names(self, names: list[str]) -> Tensor:
        """Names of things, as a user's zero-shot classes."""


class TowerSpace:
    def __init__(self, tower: TextTower, tokenizer: Tokenizer) -> None:
        self.tower, self.tokenizer = tower, tokenizer

    def lines(self, lines: list[str]) -> Tensor:
        with torch.autocast(self.tower.position_embedding.device.type, torch.bfloat16):
            return encode(self.tower, self.tokenizer, lines)

    def names(self, names: list[str]) -> Tensor:
        return F.normalize(sum(self.lines([t.format(n) for n in names]) for t in TEMPLATES), dim=1)


class TeacherSpace:
    def __init__(self, corpus: texts.Corpus, work: Path, device: torch.device) -> None:
        everything = corpus.everything()
        self.table = text_teacher.embed("corpus", everything, work, device)
        self.rows = {text: i for i, text in enumerate(everything)}
        self.centre = self.table[: len(corpus.names)].mean(0)
        self.work, self.device = work, device

    def lines(self, lines: list[str]) -> Tensor:
        new = [line for line in dict.fromkeys(lines) if line not in self.rows]
        if new:
            self.rows |= {line: len(self.rows) + i for i, line in enumerate(new)}
            self.table = torch.cat([self.table, text_teacher.embed("more", new, self.work, self.device)])
        return F.normalize(self.table[[self.rows[line] for line in lines]] - self.centre, dim=1).to(
            self.device
        )

    names = lines  # a template would only move the teacher's embedding


def class_features(space: Space, wordnet: Path) -> Tensor:
    """Features [1000, embed_dim] of the ImageNet classes.

    The first name with a little of its synonym and gloss: they tell the crane that flies from the
    one that lifts.
    """
    concepts = texts.wordnet(wordnet)
    classes = [concepts[key] for key in texts.imagenet_ids()]
    name = space.names([c.names[0] for c in classes])
    synonym = space.names([c.names[min(1, len(c.names) - 1)] for c in classes])
    gloss = space.lines([f"{c.names[0]}, {c.gloss}" for c in classes])
    return F.normalize(name + 0.3 * synonym + 0.5 * gloss, dim=1)
