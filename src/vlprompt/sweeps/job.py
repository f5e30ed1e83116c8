"""One job of a sweep in this process: a run, or the features that runs have in common.

Backbone and data sets stay loaded between jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.loading import load_backbone
from vlprompt.backbones.spec import BackboneSpec
from vlprompt.data.dataset import Dataset
from vlprompt.data.opening import open_dataset
from vlprompt.data.sampling import draw
from vlprompt.error_messages import explain
from vlprompt.feeding.feature_cache import FeatureCache, default_directory
from vlprompt.feeding.inputs import Encoder, Views
from vlprompt.feeding.recent_arrays import RecentArrays
from vlprompt.fitting.plan import make_plan
from vlprompt.protocols import facts_of, find
from vlprompt.sweeps.feature_packs import Pack, PackedCache
from vlprompt.sweeps.grid_cells import Cell, DataSpec, Setup, Warm
from vlprompt.training.train_options import TrainOptions

OnRecord = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Result:
    """value: the record of a run, or the features in common. error: one line, if there is none."""

    value: Any = None
    error: str | None = None


def perform(
    job: Cell | Warm,
    on_record: OnRecord | None = None,
    packs: dict[str, Pack] | None = None,
    folder: str | Path | None = None,
) -> Result:
    """Does one job; whatever goes wrong becomes a line.

    packs: features from elsewhere, by data set. folder: of the run, instead of the cell's.
    """
    try:
        if isinstance(job, Warm):
            return Result(warm(job, on_record, keep=packs is not None))
        return Result(run(job, on_record, packs or {}, folder or job.folder))
    except Exception as error:
        return Result(error=explain(error).text)


def run(
    cell: Cell, on_record: OnRecord | None, packs: dict[str, Pack], folder: str | Path | None
) -> dict[str, Any]:
    """The protocol's record of one run."""
    held = {spec.name: opened(spec, packs) for spec in (cell.data, *cell.targets)}
    arguments = dict(cell.arguments)
    if cell.targets:
        arguments["targets"] = {spec.name: held[spec.name] for spec in cell.targets}
        spoken = {spec.name: list(spec.templates) for spec in cell.targets if spec.templates}
        if spoken and "target_templates" in facts_of(cell.protocol).argument_names:
            arguments.setdefault("target_templates", spoken)
    found = list(
        find(cell.protocol)(
            held[cell.data.name],
            cell.method,
            backbone_of(replace(cell.setup, cache=None)),
            shots=cell.shots,
            seeds=[cell.seed],
            options=cell.options,
            train=cell.train,
            recipe=cell.recipe,
            templates=list(cell.data.templates),
            cache=cache_of(cell.setup, packs),
            out=folder,
            on_record=on_record,
            command="vlprompt sweep",
            **arguments,
        )
    )
    return found[0]


def warm(job: Warm, on_record: OnRecord | None = None, *, keep: bool) -> Pack | None:
    """Encodes what runs have in common into the cache, and gives it if it is to be kept."""
    dataset = opened(job.data, {})
    backbone = backbone_of(replace(job.setup, cache=None))
    cache = PackedCache(job.setup.cache, []) if keep else _disk(folder_of(job.setup))
    encoder = Encoder(dataset, backbone, cache=cache, emit=on_record or (lambda record: None))
    for name in ("test", "val"):
        encoder.features(dataset.splits.get(name, []), what=f"{name} pictures")
    for shots, seed, trainings in job.draws:
        split = draw(dataset, shots=shots, seed=seed)
        views = max(options.lasting(len(split.train)).view_count() for options in trainings)
        encoder.features(split.train, Views(views, seed), what=f"training pictures of seed {seed}")
    return cache.pack(dataset) if isinstance(cache, PackedCache) else None


def warm_jobs(cells: list[Cell], only: set[str] | None = None) -> list[Warm]:
    """What the cells have in common, a job per data set and setup. only: keys of cells that are still to do."""
    draws: dict[tuple[DataSpec, Setup], dict[tuple[int, int], dict[TrainOptions, None]]] = {}
    for cell in cells:
        if only is not None and cell.key not in only:
            continue
        for spec in (cell.data, *cell.targets):
            draws.setdefault((spec, cell.setup), {})
        training = feature_training(cell)
        if training is not None and not facts_of(cell.protocol).part_of_data:
            draws[cell.data, cell.setup].setdefault((cell.shots, cell.seed), {})[training] = None
    return [
        Warm(spec, setup, tuple((*pair, tuple(trainings)) for pair, trainings in found.items()))
        for (spec, setup), found in draws.items()
    ]


def feature_training(cell: Cell) -> TrainOptions | None:
    """How a run learns from features of the training pictures; None if it takes none."""
    plan = make_plan(cell.method, cell.options, cell.train, cell.recipe)
    facts = plan.spec.facts_with(plan.options)
    if not facts.cached or not facts.learns:
        return None
    options = plan.train.resolved(facts.recipe, facts.needs)
    return options if facts.takes_steps else replace(options, least_steps=0)


@lru_cache(maxsize=1)
def backbone_of(setup: Setup) -> Backbone:
    return load_backbone(
        BackboneSpec(setup.backbone, own_device(setup.device), setup.precision, setup.tokenizer)
    )


WORKER = 0  # number of this worker among its machine's


def own_device(device: str) -> str:
    """Workers of one machine take its GPUs in turn."""
    import torch

    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return f"cuda:{WORKER % count}" if count > 1 else device


def opened(spec: DataSpec, packs: dict[str, Pack]) -> Dataset:
    pack = packs.get(spec.name)
    return pack.dataset if pack is not None else _open(spec)


@lru_cache(maxsize=16)
def _open(spec: DataSpec) -> Dataset:
    more: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in spec.arguments
    }
    return replace(open_dataset(spec.path, **more), name=spec.name)


@lru_cache(maxsize=2)
def _disk(folder: str | bool | Path) -> FeatureCache:
    return FeatureCache(folder if isinstance(folder, bool) else str(folder), recent=RecentArrays())


def cache_of(setup: Setup, packs: dict[str, Pack]) -> FeatureCache:
    return PackedCache(setup.cache, list(packs.values())) if packs else _disk(folder_of(setup))


def folder_of(setup: Setup) -> str | bool | Path:
    """Where features are kept; False for nowhere."""
    return setup.cache if setup.cache is not None else default_directory() or False
