"""Held-out parts of `pretrain/` that decide every setting: names and pictures that no training sees.

Whole sets of `named.zip` are kept back: most are for research only and would not be trained on anyway, groceries
and clothing are kept back because they are the nearest to what people do with vlprompt.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from pictures import Picture
from texts import TEMPLATES
from torch import Tensor

FIRST = ("food101", "aid", "clothing", "popular-animals", "freshcart")
MORE = ("zukan", "wikipedia-words", "nwpu12", "intel-scenes", "ikea")
JUDGES = FIRST + MORE
PROBED = {
    "food101": 14,
    "aid": 16,
    "clothing": 16,
    "popular-animals": 16,
}  # pictures of a class to learn from
EMOJI = ("fluent-emoji", "fxemoji", "noto-emoji")  # test pictures elsewhere in vlprompt: never trained on


def held_out(named: list[Picture], most: int = 40) -> list[Picture]:
    """At most `most` pictures of each name of each judge, in a fixed order."""
    listed = []
    for group in (FIRST, MORE):
        count: Counter[tuple[str, str]] = Counter()
        part = []
        for picture in named:
            key = (picture.source, picture.name)
            if picture.source in group and count[key] < most:
                count[key] += 1
                part.append(picture)
        random.Random(0).shuffle(part)
        listed += part
    return listed


Speak = Callable[[list[str]], Tensor]


def names_of(speak: Speak, names: list[str]) -> Tensor:
    """Class features [C, D]: mean over the templates, unit length."""
    return F.normalize(sum(speak([t.format(n) for n in names]) for t in TEMPLATES), dim=1)


def zero_shot(
    features: Tensor, listed: list[Picture], speak: Speak, sources: tuple[str, ...] = JUDGES
) -> dict[str, float]:
    """Per cent right of each judge; of sets with one picture a name, right among the five nearest names."""
    result = {}
    for source in sources:
        rows = [i for i, p in enumerate(listed) if p.source == source]
        if not rows:
            continue
        names = sorted({listed[i].name for i in rows})
        labels = torch.tensor([names.index(listed[i].name) for i in rows])
        scores = features[rows] @ names_of(speak, names).T
        near = scores.topk(5 if len(names) > 200 else 1).indices
        result[source] = 100 * float((near == labels[:, None]).any(1).float().mean())
    return result


def probe(features: Tensor, listed: list[Picture]) -> dict[str, float]:
    """Per cent right of a logistic regression on unit-length features of few pictures a class."""
    from sklearn.linear_model import LogisticRegression

    x = (F.normalize(features, dim=1) * 10).numpy()
    result = {}
    for source, shots in PROBED.items():
        rows = [i for i, p in enumerate(listed) if p.source == source]
        count: Counter[str] = Counter()
        train, test = [], []
        for i in rows:
            name = listed[i].name
            count[name] += 1
            (train if count[name] <= shots else test).append(i)
        labels = np.array([p.name for p in listed])
        model = LogisticRegression(C=10, max_iter=200).fit(x[train], labels[train])
        result[source] = 100 * float(model.score(x[test], labels[test]))
    return result


def means(zero: dict[str, float], probed: dict[str, float]) -> str:
    line = (
        f"zero-shot {sum(zero.values()) / len(zero):.2f} ("
        + ", ".join(f"{k} {v:.1f}" for k, v in zero.items())
        + ")"
    )
    return (
        line
        + f"; probe {sum(probed.values()) / max(1, len(probed)):.2f} ("
        + ", ".join(f"{k} {v:.1f}" for k, v in probed.items())
        + ")"
    )
