"""cross_dataset: learn on one data set, test on others by binding their class names.

Nothing of the targets is trained on; the learned tensors meet new names through `for_classes`.
Source: Zhou et al., "Conditional Prompt Learning", CVPR 2022, section 4.2, where ImageNet is the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlprompt.data.catalog import TRANSFER
from vlprompt.data.dataset import Dataset
from vlprompt.data.opening import open_dataset
from vlprompt.data.sampling import draw
from vlprompt.data.task import Task
from vlprompt.errors import OptionError, nearest
from vlprompt.protocols.base_to_new import other
from vlprompt.protocols.protocol_facts import RECORD, Argument, ProtocolFacts, Value
from vlprompt.protocols.protocol_records import base_record
from vlprompt.protocols.protocol_setup import encoder_for, open_both, plan_and_rest, run_folder, test_needed

if TYPE_CHECKING:
    from vlprompt.backbones.backbone import Backbone
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.methods.base import Method

FACTS = ProtocolFacts(
    name="cross_dataset",
    title="Other data sets",
    summary="trains on one data set and tests on others",
    values=(
        Value("source", "source", "on the source", gain=True),
        Value("average", "average", "on average", gain=True, last=True),
    ),
    main="average",
    arguments=(
        Argument("targets", "a list of texts", "--target"),
        Argument("target_templates", "a table of target and text"),
    ),
    averaged=False,
    new_classes="new",
    usual_targets=TRANSFER["cross_dataset"],
    each_on_the_others=True,
)

Data = str | Path | Dataset


def cross_dataset(
    data: Data,
    method: str | type[Method] | None = None,
    backbone: str | Path | BackboneSpec | Backbone = "embedded",
    *,
    targets: Mapping[str, Data] | Sequence[Data] = (),
    target_templates: Mapping[str, str | Sequence[str]] | None = None,
    shots: int = 16,
    seeds: Sequence[int] = (1, 2, 3),
    out: str | Path | None = None,
    **more: Any,
) -> Iterator[dict[str, Any]]:
    """One record per seed: source, one accuracy for each target by its name, average (over the targets),
    all per cent; the same of zero-shot under "zero_shot".

    data: the source. targets: data sets with a test split, named by their own names or by the keys given.
    target_templates: what zero-shot says on a target, by its name; otherwise the given templates, those that the
        catalog knows for it, or the source's. The learned prompts keep the words that they were learned with.
    out and more: as in `few_shot`.

    OptionError for a method that cannot be taken to other classes, with the reason.
    """
    from vlprompt.fitting.learning import learn
    from vlprompt.fitting.lesson import HeldOut
    from vlprompt.methods.zeroshot import ZeroShot
    from vlprompt.scoring.evaluation import evaluate

    plan, setup, rest = plan_and_rest(method, more)
    source, backbone = open_both(data, backbone, setup)
    test_needed(source)
    opened = named_targets(targets, taken=(*FACTS.value_names, "zero_shot"))
    spoken = dict(target_templates or {})
    for name in spoken:
        if name not in opened:
            raise OptionError(f'target_templates: there is no target "{name}": {nearest(name, opened)}')
    for seed in seeds:
        split = draw(source, shots=shots, seed=seed)
        run = learn(source, split, backbone, plan, out=run_folder(out, seed), **rest)
        values = {"source": run.scores["test"]["accuracy"]}
        reference = {"source": run.scores["zero_shot"]["accuracy"]}
        for name, target in opened.items():
            bound = other(run.method, target.class_names, plan.method)
            held = HeldOut.read(encoder_for(target, backbone, bound, rest), bound, target.items("test"), name)
            texts = (
                spoken.get(name)
                or ("" if plan.templates else target.templates)
                or run.info.zero_shot_templates
            )
            task = Task(target.class_names, (texts,) if isinstance(texts, str) else tuple(texts))
            values[name] = evaluate(bound, held.own).accuracy
            reference[name] = evaluate(ZeroShot(backbone, task), held.features).accuracy
        for found in (values, reference):
            found["average"] = sum(found[name] for name in opened) / len(opened)
        about = base_record(
            FACTS.name,
            source,
            backbone,
            plan,
            shots,
            seed,
            run,
            opened,
            {"targets": sorted(opened), "target_templates": spoken or None},
        )
        yield about | values | {"zero_shot": reference}


def named_targets(targets: Mapping[str, Data] | Sequence[Data], taken: Sequence[str]) -> dict[str, Dataset]:
    """The opened targets by name; OptionError for none, and for a name that is there already."""
    if not targets:
        raise OptionError("targets: give at least one data set to test on")
    if isinstance(targets, (str, Path, Dataset)):
        raise OptionError("targets: give a list of data sets, or a mapping from names to data sets")
    named = targets.items() if isinstance(targets, Mapping) else ((None, data) for data in targets)
    found: dict[str, Dataset] = {}
    for given, data in named:
        target = data if isinstance(data, Dataset) else open_dataset(data)
        test_needed(target)
        name = str(given or target.name)
        if name in found or name in taken or name in RECORD:
            raise OptionError(f'targets: the name "{name}" is taken; give a mapping with other names')
        found[name] = replace(target, name=name)
    return found
