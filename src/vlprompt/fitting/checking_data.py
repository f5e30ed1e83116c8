"""Which pictures of a data set look wrong: in the wrong class, twice, twice under two labels, or broken.

Every picture is judged by a linear probe that learned from others (cross-validation); one that it puts into another class
with much more probability than into its own is worth a look. Near duplicates have almost the same features.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.dataset import Dataset, Item
from vlprompt.errors import DataError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder
from vlprompt.fitting.measuring import stratified
from vlprompt.fitting.notices import OnRecord
from vlprompt.methods.softmax_regression import softmax_regression
from vlprompt.temperature import fit_temperature, log_probabilities

STRENGTH = 10.0
ALIKE = 0.995  # cosine of features from which on pictures are called near duplicates
DOUBT = 0.2  # probability of its own class below which a picture may be in the wrong one
MOST_PAIRS = 10_000


@dataclass(frozen=True)
class Doubt:
    """A picture that looks like another class. own, other: probabilities of its label and of `looks_like`."""

    path: str
    label: str
    looks_like: str
    own: float
    other: float


@dataclass(frozen=True)
class Pair:
    """Two pictures that are almost the same. alike: cosine of their features."""

    first: str
    second: str
    labels: tuple[str, str]
    alike: float

    @property
    def contradicts(self) -> bool:
        return self.labels[0] != self.labels[1]


@dataclass
class Found:
    """What was found, the surest first; broken: path and reason. judged: pictures that could be judged."""

    pictures: int = 0
    judged: int = 0
    doubts: list[Doubt] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def contradictions(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.contradicts]


def check_data(
    dataset: Dataset,
    backbone: Backbone,
    *,
    cache: FeatureCache | None = None,
    emit: OnRecord = lambda record: None,
    seed: int = 1,
) -> Found:
    """Looks at all pictures of a data set, whatever their split. DataError where none can be read."""
    items = list({item.path: item for item in dataset.all_items}.values())
    inputs = Encoder(dataset, backbone, cache=cache, emit=emit).features(items)
    if not len(inputs):
        raise DataError(f"{dataset.name}: none of the {len(items)} pictures can be read")
    x, y = inputs.features[0].float().cpu().numpy(), inputs.labels.numpy()
    found = Found(len(items), broken=list(inputs.skipped), notices=list(dataset.notices))
    _judge(found, x.astype(np.float64), y, inputs.items, dataset.class_names, seed)
    _compare(found, x, y, inputs.items, dataset.class_names)
    return found


def _judge(
    found: Found, x: np.ndarray, y: np.ndarray, items: list[Item], names: tuple[str, ...], seed: int
) -> None:
    logits, numbers = [], []
    for fold in stratified(y, 5, seed):
        seen, held = fold.learned.numpy(), fold.held.numpy()
        known, labels = np.unique(y[seen], return_inverse=True)
        rows = np.full((len(held), len(names)), -1e4)
        rows[:, known] = softmax_regression(x[seen], labels, STRENGTH).logits(x[held])
        logits.append(rows)
        numbers.append(held)
    if not logits:
        found.notices.append("one picture of each class: none can be judged by others")
        return
    rows, order = np.concatenate(logits), np.concatenate(numbers)
    truth = y[order]
    found.judged = len(order)
    p = np.exp(log_probabilities(rows, fit_temperature(rows, truth)))
    own, said = p[np.arange(len(order)), truth], p.argmax(1)
    for i in np.argsort(own):
        if own[i] >= DOUBT or said[i] == truth[i]:
            continue
        item = items[order[i]]
        found.doubts.append(
            Doubt(item.path, names[truth[i]], names[said[i]], float(own[i]), float(p[i, said[i]]))
        )


def _compare(found: Found, x: np.ndarray, y: np.ndarray, items: list[Item], names: tuple[str, ...]) -> None:
    for start in range(0, len(x), 512):
        alike = x[start : start + 512] @ x.T
        for i, j in zip(*np.nonzero(alike >= ALIKE), strict=True):
            a = start + int(i)
            if a < j and len(found.pairs) < MOST_PAIRS:
                labels = names[y[a]], names[y[j]]
                found.pairs.append(Pair(items[a].path, items[j].path, labels, float(min(1.0, alike[i, j]))))
    found.pairs.sort(key=lambda pair: (not pair.contradicts, -pair.alike))
