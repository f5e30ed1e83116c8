"""A linear probe on the training pictures of a run: what can be had without any words, to stand beside its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.dataset import Dataset
from vlprompt.data.sampling import draw
from vlprompt.errors import DataError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.fitting.learning import learn
from vlprompt.fitting.plan import Plan
from vlprompt.runs.info import ScoreInfo

PROBE = "linear_probe"
MOST_SHOTS = 64  # training pictures of a class beyond which nobody waits for a probe unasked


def probe_beside(
    dataset: Dataset,
    backbone: Backbone,
    class_names: Sequence[str],
    *,
    shots: int,
    seed: int,
    which: Literal["all", "base", "new"],
    cache: FeatureCache | None = None,
    emit: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, ScoreInfo]:
    """Scores of the probe by split, in per cent, after learning the pictures that the run learned.

    class_names: of the run, in its order. shots, seed, which: of its draw (see `draw`); shots 0 for all pictures.
    DataError where the data set has other classes by now, or more pictures than anybody waits for.
    """
    split = draw(dataset, shots=shots, seed=seed, which=which)
    if list(split.class_names) != list(class_names):
        raise DataError("the run's classes are not those of the pictures")
    if not shots and len(split.train) > MOST_SHOTS * len(class_names):
        raise DataError("all pictures were trained on, which would take long")
    run = learn(
        dataset, split, backbone, Plan(PROBE), cache=cache if cache is not None else False, on_record=emit
    )
    return run.info.scores
