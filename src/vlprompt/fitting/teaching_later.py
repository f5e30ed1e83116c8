"""Teaching a run later: pictures and classes that come, go or are renamed; the rest is learned again as before.

What a run learned from is known, and features are kept, so that learning everything once more takes little and leaves
nothing of a class behind that was forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.changing import changed, reopened
from vlprompt.data.sampling import draw
from vlprompt.errors import DataError, RunError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.fitting.choosing import AUTO
from vlprompt.fitting.learning import learn
from vlprompt.fitting.measuring import Measure, divided
from vlprompt.fitting.notices import OnRecord
from vlprompt.fitting.plan import Plan, make_plan
from vlprompt.options import build
from vlprompt.runs.info import RunInfo, read_info
from vlprompt.runs.run import Run
from vlprompt.runs.seals import is_sealed, openable
from vlprompt.training.train_options import TrainOptions


def teach(
    run: str | Path,
    changes: Sequence[dict[str, Any]],
    *,
    data: str | Path | None = None,
    backbone: Backbone | None = None,
    out: str | Path | None = None,
    cache: FeatureCache | bool = True,
    on_record: OnRecord | None = None,
    command: str = "",
) -> Run:
    """The run after changes to its classes or pictures (see `vlprompt.data.changing`), in its folder or in `out`.

    data: where the pictures of the run now lie, if they have moved. RunError where the run does not say what it learned
    from; DataError where that is no longer there, or a change cannot be made.
    """
    info = read_info(run)
    if info.data.origin is None:
        raise RunError(f"{run}: does not say where its pictures lie, so it cannot be learned again: use fit")
    if data is None and not is_sealed(info.data.origin, info.data.seal):
        raise RunError(
            f"{run}: was not learned here by you, so the place that it names is not opened: --data says where its "
            "pictures are"
        )
    try:
        before = reopened(
            openable(info.data.origin, info.data.seal), data, val_fraction=0.0, test_fraction=0.0
        )
    except DataError as error:
        raise DataError(f"{error}; --data says where the pictures of the run are now") from error
    measure = build(
        Measure, {k: v for k, v in (info.measure or {}).items() if k in Measure.__dataclass_fields__}
    )
    dataset = divided(changed(before, changes), measure)
    split = draw(dataset, shots=info.shots, seed=1 if info.seed is None else info.seed)
    loaded = backbone if backbone is not None else Run.load(run).backbone
    return learn(
        dataset,
        split,
        loaded,
        plan_of(info),
        out=out if out is not None else run,
        measure=measure,
        cache=cache,
        overwrite=True,
        on_record=on_record,
        command=command,
    )


def plan_of(info: RunInfo) -> Plan:
    """What a run was learned with, to do it again; what auto chose is chosen anew."""
    templates = tuple(info.templates) if info.choice is None else ()
    if info.choice is not None:
        return Plan(AUTO, {}, TrainOptions(), templates)
    return make_plan(info.method, info.options, info.train or {}, templates=list(templates))
