"""Names of splits, as folders, files and columns of lists are called: train, training_set, seg_test, valid, val2017."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

SPLITS = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "dev": "val",
    "eval": "val",
    "evaluation": "val",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "holdout": "test",
}
UNLABELLED = "unlabelled"  # what a folder of pictures to be predicted counts as
_NO_SPLIT = dict.fromkeys(
    ("pred", "predict", "prediction", "predictions", "inference", "unlabeled", "unlabelled"), UNLABELLED
)
# words that stand beside a split's and say nothing
FILLERS = frozenset(
    "set sets data dataset split splits subset image images img imgs picture pictures pics photo photos folder "
    "folders files jpg jpegs png public private list lists label labels labelled labeled annotation annotations "
    "classes meta metadata info csv".split()
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
_GLUED = re.compile(
    rf"({'|'.join(sorted(SPLITS | _NO_SPLIT, key=len, reverse=True))})({'|'.join(sorted(FILLERS))})"
)


class SplitName(NamedTuple):
    """split: train, val, test or UNLABELLED. rest: what else the name says, such as seg of seg_train."""

    split: str
    rest: str


@lru_cache(maxsize=10_000)
def split_name(name: str) -> SplitName | None:
    """What split a name means, or None: a single word for a split, with any of FILLERS and other words beside it."""
    if (plain := SPLITS.get(name.lower())) is not None:
        return SplitName(plain, "")
    words: list[str] = []
    for word in _WORDS.findall(name):
        glued = _GLUED.fullmatch(word.lower())
        words += glued.groups() if glued else (word.lower(),)
    known = SPLITS | _NO_SPLIT
    found = [known[word] for word in words if word in known]
    if len(found) != 1:
        return None
    rest = [word for word in words if word not in known and word not in FILLERS and not word.isdigit()]
    return SplitName(found[0], " ".join(rest))


def splits_among(names: Iterable[str]) -> dict[str, str]:
    """Name -> split, of the names that belong together: those with the same rest, and of several such groups the
    one with the most splits."""
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        if (found := split_name(name)) is not None:
            groups.setdefault(found.rest, {})[name] = found.split
    best = max(
        groups.values(),
        key=lambda group: (len(set(group.values()) - {UNLABELLED}), "train" in group.values()),
        default={},
    )
    measured = [name for name, split in best.items() if split == "val" and "eval" in name.lower()]
    if "test" not in best.values() and len(measured) < list(best.values()).count("val"):
        best |= dict.fromkeys(measured, "test")  # train, dev, eval
    return best


def split_of_word(word: str) -> str | None:
    """train, val or test for a cell of a list, such as "Training" or "train_set"; None for anything else."""
    found = split_name(word)
    return None if found is None or found.rest or found.split == UNLABELLED else found.split
