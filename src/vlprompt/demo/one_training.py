"""One training of the demo with its scores; made to be sent to another process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.sampling import draw, kept_labels
from vlprompt.demo import demo_settings as settings
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder
from vlprompt.feeding.recent_arrays import RecentArrays
from vlprompt.fitting.learning import learn
from vlprompt.fitting.plan import make_plan
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.protocols.base_to_new import both_kinds, class_parts
from vlprompt.protocols.protocol_facts import harmonic_mean
from vlprompt.protocols.protocol_records import base_record
from vlprompt.scoring.evaluation import logits_of, scores_of


@dataclass(frozen=True)
class Place:
    """Where a demo happens: the same for all its jobs. shown: the method whose predictions the page shows. precision: of the
    frozen towers."""

    backbone: str
    out: Path
    cache: Path
    data: str = "demo"
    shots: int = settings.SHOTS
    shown: str = settings.SHOWN
    precision: str = "float32"


@dataclass(frozen=True)
class Job:
    """kind: "encode" (method is a split and seed a part of it), or the name of a protocol."""

    kind: str
    method: str
    seed: int
    place: Place
    of: int = 1  # parts

    @property
    def cost(self) -> float:
        if self.kind == "encode":
            return 3.0 / self.of
        return settings.COST.get(self.method, 1.0) * (1.0 if self.kind == "few_shot" else 0.7)


def set_up(threads: int) -> None:
    """What a worker does first. Ctrl-C is the main process's to answer; a worker never outlives it."""
    import torch

    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@lru_cache(maxsize=1)
def backbone_and_data(place: Place) -> tuple[Backbone, Dataset]:
    """Loaded once per process. The validation pictures take no part: settings were chosen on them."""
    from vlprompt.backbones.loading import load_backbone
    from vlprompt.data.opening import open_dataset

    dataset = open_dataset(place.data)
    kept = {name: items for name, items in dataset.splits.items() if name != "val"}
    return load_backbone(place.backbone, device="auto", precision=place.precision), replace(
        dataset, splits=kept
    )


@lru_cache(maxsize=1)
def recent_arrays() -> RecentArrays:
    """What the jobs of one process leave each other."""
    return RecentArrays()


def work(job: Job) -> dict[str, Any]:
    """The record of a job: scores in per cent, seconds of training, its curve, predictions."""
    backbone, dataset = backbone_and_data(job.place)
    cache = FeatureCache(job.place.cache, recent=recent_arrays())
    try:
        if job.kind == "encode":
            return _encode(job, backbone, dataset, cache)
        return (_few_shot if job.kind == "few_shot" else _base_to_new)(job, backbone, dataset, cache)
    finally:
        cache.close()


def _encode(job: Job, backbone: Backbone, dataset: Dataset, cache: FeatureCache) -> dict[str, Any]:
    items = dataset.items(job.method)[job.seed :: job.of]
    Encoder(dataset, backbone, cache=cache).features(items)
    return {"pictures": len(items)}


def _few_shot(job: Job, backbone: Backbone, dataset: Dataset, cache: FeatureCache) -> dict[str, Any]:
    plan = make_plan(job.method, train=settings.BUDGET.get(job.method), recipe=settings.recipe(job.method))
    split = draw(dataset, shots=job.place.shots, seed=job.seed)
    folder = job.place.out / "runs" / f"{job.method}-seed{job.seed}"
    run = learn(
        dataset, split, backbone, plan, out=folder, cache=cache, overwrite=True, command="vlprompt demo"
    )
    record = base_record("few_shot", dataset, backbone, plan, job.place.shots, job.seed, run)
    record |= {
        "accuracy": run.scores["test"]["accuracy"],
        "macro_f1": run.scores["test"]["macro_f1"],
        "zero_shot": run.scores["zero_shot"]["accuracy"],
    }
    extra: dict[str, Any] = {"curve": curve(run.log), "info": run.info.to_json()}
    if job.method == job.place.shown and job.seed == settings.SEEDS[job.method][0]:
        task = replace(run.method.task, templates=tuple(run.info.zero_shot_templates))
        test = Encoder(dataset, backbone, cache=cache).features(split.test)
        extra["predictions"] = [
            {"path": item.path, "true": item.label, "zero_shot": int(z), "learned": int(m)}
            for item, z, m in zip(
                test.items,
                logits_of(ZeroShot(backbone, task), test).argmax(1),
                logits_of(run.method, test).argmax(1),
                strict=True,
            )
        ]
    return {"record": record, **extra}


def _base_to_new(job: Job, backbone: Backbone, dataset: Dataset, cache: FeatureCache) -> dict[str, Any]:
    """As `protocols.base_to_new`, with one pass over the test pictures where classes do not see each other: the logits of
    all classes together then hold those of base and new ones."""
    plan = make_plan(job.method, train=settings.BUDGET.get(job.method), recipe=settings.recipe(job.method))
    split = draw(dataset, shots=job.place.shots, seed=job.seed, which="base")
    order = kept_labels(dataset.items("train"), "base") + kept_labels(dataset.items("train"), "new")
    base = len(split.class_names)
    names, items = class_parts(dataset, order, base)["all"]
    run = learn(dataset, replace(split, test=[], val=[]), backbone, plan, cache=cache)
    encoder = Encoder(dataset, backbone, cache=cache)
    features = encoder.features(items)
    lists = (names,) if run.method.facts.independent_classes else (names, names[:base], names[base:])
    asked = [run.method.for_classes(known).eval() for known in lists]
    needs = frozenset().union(*(method.facts.needs for method in asked))
    own = features if needs == {"features"} else encoder.inputs(needs, features.items, known_good=True)
    logits = [logits_of(method, own) for method in asked]
    task = replace(run.method.task, class_names=names, templates=tuple(run.info.zero_shot_templates))
    record = base_record("base_to_new", dataset, backbone, plan, job.place.shots, job.seed, run)
    return {
        "record": record
        | parts_of(own.items, base, *logits)
        | {"zero_shot": parts_of(features.items, base, logits_of(ZeroShot(backbone, task), features))}
    }


def curve(log: list[dict[str, Any]], points: int | None = None) -> list[dict[str, float]]:
    """Mean loss and accuracy of the logged steps in equal parts of the training; "epoch" is the part's number.

    points: parts; of ten steps or more if not given, and twenty at most.
    """
    steps = [record for record in log if record["event"] == "step"]
    points = points or max(2, min(20, len(steps) // 10))
    found = []
    for i in range(points):
        part = steps[i * len(steps) // points : (i + 1) * len(steps) // points]
        if part:
            means = {key: sum(record[key] for record in part) / len(part) for key in ("loss", "accuracy")}
            found.append({"epoch": i + 1.0, **means})
    return found


def parts_of(
    items: list[Item], base: int, logits: Any, of_base: Any = None, of_new: Any = None
) -> dict[str, float]:
    """Per cent right: base pictures among base classes, new ones among new ones, all and either kind among all.

    logits: [N, C], base classes first. of_base, of_new: [N, base] and the rest, of the classes asked about by
    themselves; from `logits` if not given.
    """
    import numpy as np

    labels = np.array([item.label for item in items])
    is_base = labels < base
    of_base = logits[:, :base] if of_base is None else of_base
    of_new = logits[:, base:] if of_new is None else of_new
    among_base = (of_base[is_base].argmax(1) == labels[is_base]).mean()
    among_new = (of_new[~is_base].argmax(1) + base == labels[~is_base]).mean()
    found = {"base": 100 * float(among_base), "new": 100 * float(among_new)}
    found["harmonic_mean"] = harmonic_mean(found["base"], found["new"])
    among_all = scores_of(logits.argmax(1), labels, list(map(str, range(logits.shape[1]))))
    return found | {"all": among_all.accuracy} | both_kinds(among_all, base)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
