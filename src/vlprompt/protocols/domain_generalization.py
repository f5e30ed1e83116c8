"""domain_generalization: learn in one domain, test the same classes in others.

Source: Zhou et al., "Conditional Prompt Learning", CVPR 2022, section 4.3: ImageNet, tested on ImageNetV2,
-Sketch, -A and -R. Where a target has fewer classes (200 of 1000 in ImageNet-A and -R), the choice is among
these only; what was learned for the others does not count. Columns of the logits are left out, so that
every method takes part, also one whose tensors belong to the classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlprompt.data.catalog import TRANSFER
from vlprompt.data.dataset import Dataset
from vlprompt.data.sampling import draw
from vlprompt.errors import DataError, OptionError, nearest
from vlprompt.protocols.cross_dataset import Data, named_targets
from vlprompt.protocols.protocol_facts import RECORD, Argument, ProtocolFacts, Value
from vlprompt.protocols.protocol_records import base_record
from vlprompt.protocols.protocol_setup import encoder_for, open_both, plan_and_rest, run_folder, test_needed

if TYPE_CHECKING:
    from vlprompt.backbones.backbone import Backbone
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.feeding.inputs import Inputs
    from vlprompt.methods.base import Method

FACTS = ProtocolFacts(
    name="domain_generalization",
    title="Other domains",
    summary="trains in one domain and tests the same classes in others",
    values=(Value("average", "average", "on average", gain=True, last=True),),
    main="average",
    arguments=(Argument("source", "text", "--source"), Argument("targets", "a list of texts", "--target")),
    averaged=False,
    usual_targets=TRANSFER["domain_generalization"],
    part_of_data=True,
    probe_beside=True,
)


def domain_generalization(
    data: Data,
    method: str | type[Method] | None = None,
    backbone: str | Path | BackboneSpec | Backbone = "embedded",
    *,
    source: str | None = None,
    targets: Mapping[str, Data] | Sequence[Data] = (),
    shots: int = 16,
    seeds: Sequence[int] = (1, 2, 3),
    out: str | Path | None = None,
    **more: Any,
) -> Iterator[dict[str, Any]]:
    """One record per seed: an accuracy for the source domain and for each other by its name, and average
    (over the others), per cent; the same of zero-shot under "zero_shot".

    data: a data set with domains, of which `source` is trained on (the first in alphabetical order if not
        given) and the test pictures of every one are tested; or, with `targets`, the source itself.
    targets: data sets of the same classes, or of some of them, known by their names or else by the names of
        their folders. out and more: as in `few_shot`.
    """
    from vlprompt.fitting.learning import learn
    from vlprompt.fitting.lesson import HeldOut
    from vlprompt.methods.zeroshot import ZeroShot

    plan, setup, rest = plan_and_rest(method, more)
    whole, backbone = open_both(data, backbone, setup)
    trained, tested = domains_of(whole, source, targets)
    test_needed(trained)
    for seed in seeds:
        split = draw(trained, shots=shots, seed=seed)
        run = learn(trained, split, backbone, plan, out=run_folder(out, seed), **rest)
        templates = tuple(run.info.zero_shot_templates)
        zero_shot = ZeroShot(backbone, replace(run.method.task, templates=templates))
        own = trained.name.rpartition(":")[2] if not targets else "source"
        values = {own: run.scores["test"]["accuracy"]}
        reference = {own: run.scores["zero_shot"]["accuracy"]}
        for name, target in tested.items():
            columns = shared_labels(trained, target)
            items = [item for item in target.items("test") if item.label in columns]
            encoder = encoder_for(target, backbone, run.method, rest)
            held = HeldOut.read(encoder, run.method, items, name)
            values[name] = accuracy_among(run.method, held.own, columns)
            reference[name] = accuracy_among(zero_shot, held.features, columns)
        for found in (values, reference):
            found["average"] = sum(found[name] for name in tested) / len(tested)
        about = base_record(
            FACTS.name,
            trained,
            backbone,
            plan,
            shots,
            seed,
            run,
            tested,
            {"targets": sorted(tested), "source": source if targets else None},
        )
        yield about | values | {"zero_shot": reference}


def domains_of(
    whole: Dataset, source: str | None, targets: Mapping[str, Data] | Sequence[Data]
) -> tuple[Dataset, dict[str, Dataset]]:
    """What is trained on, and what is tested beside it, by name."""
    if targets:
        trained = whole if source is None else whole.only_domains(source)
        return trained, named_targets(targets, taken=(*FACTS.value_names, "source", "zero_shot"))
    if len(whole.domains) < 2:
        raise DataError(f"{whole.name}: it has no domains to tell apart; give other data sets as targets")
    source = source or whole.domains[0]
    if source not in whole.domains:
        raise OptionError(f'source: there is no domain "{source}": {nearest(source, whole.domains)}')
    clash = [name for name in whole.domains if name in RECORD or name in (*FACTS.value_names, "zero_shot")]
    if clash:
        raise DataError(f'{whole.name}: "{clash[0]}" cannot be the name of a domain here; call it otherwise')
    others = {name: whole.only_domains(name) for name in whole.domains if name != source}
    for target in others.values():
        test_needed(target)
    return replace(whole.only_domains(source), name=f"{whole.name}:{source}"), others


def shared_labels(trained: Dataset, target: Dataset) -> dict[int, int]:
    """The classes of a target that have pictures there: its label -> label of the trained data set.

    DataError names a class of the target that was not trained.
    """
    present = sorted({item.label for item in target.all_items})
    ways = [(folded(trained), folded(target))]
    if not all(key.isdigit() for key in target.class_keys):  # numbers mean nothing outside their data set
        ways.append((trained.class_keys, target.class_keys))
    for ours, theirs in ways:
        known = {key: label for label, key in enumerate(ours)}
        if all(theirs[label] in known for label in present):
            return {label: known[theirs[label]] for label in present}
    names = set(folded(trained))
    unknown = next(target.class_names[label] for label in present if folded(target)[label] not in names)
    raise DataError(
        f'{target.name}: its class "{unknown}" is none of {trained.name}: {nearest(unknown, trained.class_names)}'
    )


def folded(dataset: Dataset) -> tuple[str, ...]:
    """Class names without regard to capitals and underscores."""
    return tuple(" ".join(name.replace("_", " ").casefold().split()) for name in dataset.class_names)


def accuracy_among(method: Method, inputs: Inputs, columns: Mapping[int, int]) -> float:
    """Per cent of the pictures whose class is found among some of the method's classes.

    columns: label of the pictures -> class of the method.
    """
    from vlprompt.scoring.evaluation import logits_of

    chosen = sorted(set(columns.values()))
    place = {column: i for i, column in enumerate(chosen)}
    labels = np.array([place[columns[int(label)]] for label in inputs.labels])
    return 100 * float((logits_of(method, inputs)[:, chosen].argmax(1) == labels).mean())
