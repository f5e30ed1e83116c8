"""few_shot: train on K pictures of every class, test on all classes.

Sampling as in CoOp (Zhou et al., IJCV 2022); seeds 1, 2, 3; mean and standard deviation over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlprompt.data.sampling import draw
from vlprompt.protocols.protocol_facts import ProtocolFacts, Value
from vlprompt.protocols.protocol_records import base_record
from vlprompt.protocols.protocol_setup import open_both, plan_and_rest, run_folder, test_needed

if TYPE_CHECKING:
    from vlprompt.backbones.backbone import Backbone
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.data.dataset import Dataset
    from vlprompt.methods.base import Method

FACTS = ProtocolFacts(
    name="few_shot",
    title="Few shots",
    summary="trains on some pictures of every class and tests on all classes",
    values=(Value("accuracy", "accuracy", "accuracy", gain=True), Value("macro_f1", "macro F1", "macro F1")),
    main="accuracy",
    over_shots=True,
    drawing="shots",
    probe_beside=True,
)


def few_shot(
    data: str | Path | Dataset,
    method: str | type[Method] | None = None,
    backbone: str | Path | BackboneSpec | Backbone = "embedded",
    *,
    shots: int = 16,
    seeds: Sequence[int] = (1, 2, 3),
    out: str | Path | None = None,
    **more: Any,
) -> Iterator[dict[str, Any]]:
    """One record per seed: accuracy, macro_f1, zero_shot (per cent), seconds, and what they belong to.

    out: one run folder per seed in it, `seed1`, ...; runs that are there already are not done again.
    more: as for `fit` (options, train, recipe, templates, classes, device, precision, cache, on_record,
    ...). `vlprompt.protocols.protocol_records.summary` gives mean and standard deviation over the records.
    """
    from vlprompt.fitting.learning import learn

    plan, setup, rest = plan_and_rest(method, more)
    dataset, backbone = open_both(data, backbone, setup)
    test_needed(dataset)
    for seed in seeds:
        run = learn(
            dataset, draw(dataset, shots=shots, seed=seed), backbone, plan, out=run_folder(out, seed), **rest
        )
        yield base_record(FACTS.name, dataset, backbone, plan, shots, seed, run) | {
            "accuracy": run.scores["test"]["accuracy"],
            "macro_f1": run.scores["test"]["macro_f1"],
            "zero_shot": run.scores["zero_shot"]["accuracy"],
            "count": run.scores["test"]["count"],
        }
