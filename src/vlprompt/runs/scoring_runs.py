"""Scores of a saved run on any data set, with those of zero-shot on the same pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlprompt.data.dataset import Dataset
    from vlprompt.feeding.feature_cache import FeatureCache
    from vlprompt.runs.info import ScoreInfo


def score_run(
    folder: Path,
    dataset: Dataset,
    split: str,
    *,
    backbone: str | None = None,
    device: str = "auto",
    cache: FeatureCache | None = None,
    emit: Callable[[dict[str, Any]], None] | None = None,
) -> tuple[str, ScoreInfo, ScoreInfo]:
    """(method, its scores, zero-shot scores).

    Classes are the run's where it knows all of the data set's, else those of the data set. OptionError where the method cannot be taken to other classes.
    """
    from vlprompt.feeding.inputs import Encoder
    from vlprompt.methods.zeroshot import ZeroShot
    from vlprompt.runs.info import ScoreInfo
    from vlprompt.runs.run import Run
    from vlprompt.scoring.evaluation import evaluate

    run = Run.load(folder, backbone, device=device)
    scores = run.evaluate(dataset, split, cache=cache, emit=emit)
    if not scores.count:
        from vlprompt.errors import DataError

        raise DataError(f"{dataset.name}: none of the {split} pictures could be read")
    names = run.class_names if set(dataset.class_names) <= set(run.class_names) else dataset.class_names
    templates = run.info.zero_shot_templates or run.info.templates
    task = replace(run.learned.task, class_names=tuple(names), templates=tuple(templates))
    place = {name: i for i, name in enumerate(names)}
    items = [replace(i, label=place[dataset.class_names[i.label]]) for i in dataset.items(split)]
    inputs = Encoder(dataset, run.backbone, cache=cache).features(items, what=split)
    zero_shot = evaluate(ZeroShot(run.backbone, task), inputs)
    return run.info.shown_method, ScoreInfo.of(scores), ScoreInfo.of(zero_shot)
