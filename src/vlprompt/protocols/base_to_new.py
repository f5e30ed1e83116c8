"""base_to_new: train on the first half of the classes, test on these, on the others, and on all together.

Base classes are the first ceil(C / 2) in label order. Pictures are sampled from all classes first, then
restricted, as published (Zhou et al., "Conditional Prompt Learning", CVPR 2022, section 4.1). `base` and
`new` choose among their own half of the classes only, `all` among all of them (open world): there learned classes
win easily, so `all_base` and `all_new` say how many pictures of either kind are right, and their harmonic mean is
what generalised zero-shot learning reports (Xian et al., "Zero-Shot Learning: A Comprehensive Evaluation", TPAMI 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlprompt.data.sampling import draw, kept_labels
from vlprompt.errors import DataError, OptionError
from vlprompt.protocols.protocol_facts import ProtocolFacts, Value, harmonic_mean
from vlprompt.protocols.protocol_records import base_record
from vlprompt.protocols.protocol_setup import (
    encoder_for,
    obstacle,
    open_both,
    plan_and_rest,
    run_folder,
    test_needed,
)

if TYPE_CHECKING:
    from vlprompt.backbones.backbone import Backbone
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.data.dataset import Dataset, Item
    from vlprompt.methods.base import Method
    from vlprompt.scoring.evaluation import Scores

FACTS = ProtocolFacts(
    name="base_to_new",
    title="From base to new classes",
    summary="trains on the first half of the classes and tests on these, on the others, and on all together",
    values=(
        Value("base", "base", "base classes", gain=True),
        Value("new", "new", "new classes", gain=True),
        Value("harmonic_mean", "HM", "harmonic mean of base and new", gain=True, harmonic_of=("base", "new")),
        Value("all", "all together", "all classes together"),
        Value("all_base", "base of all", "base classes among all names"),
        Value("all_new", "new of all", "new classes among all names"),
        Value(
            "all_harmonic_mean",
            "HM of all",
            "harmonic mean of base and new classes among all names",
            harmonic_of=("all_base", "all_new"),
        ),
    ),
    main="harmonic_mean",
    new_classes="new",
    drawing="base_new",
)


def base_to_new(
    data: str | Path | Dataset,
    method: str | type[Method] | None = None,
    backbone: str | Path | BackboneSpec | Backbone = "embedded",
    *,
    shots: int = 16,
    seeds: Sequence[int] = (1, 2, 3),
    out: str | Path | None = None,
    **more: Any,
) -> Iterator[dict[str, Any]]:
    """One record per seed: base, new, harmonic_mean, all, all_base, all_new, all_harmonic_mean (per cent), the same of
    zero-shot under "zero_shot", and seconds.

    out and more: as in `few_shot`. OptionError for a method that cannot be taken to new classes.
    """
    from vlprompt.fitting.learning import learn
    from vlprompt.fitting.lesson import HeldOut
    from vlprompt.methods.zeroshot import ZeroShot
    from vlprompt.scoring.evaluation import evaluate

    plan, setup, rest = plan_and_rest(method, more)
    if (reason := obstacle(FACTS.name, plan)) is not None:  # said before anything is trained
        raise OptionError(reason)
    dataset, backbone = open_both(data, backbone, setup)
    test_needed(dataset)
    classes = len(kept_labels(dataset.items("train"), "all"))
    if classes in (2, 3):
        text = f"of {classes} classes one is new, and right whatever is learned: {FACTS.title} says little"
        dataset = replace(dataset, notices=(*dataset.notices, text))
    for seed in seeds:
        split = draw(dataset, shots=shots, seed=seed, which="base")
        order = kept_labels(dataset.items("train"), "base") + kept_labels(dataset.items("train"), "new")
        parts = class_parts(dataset, order, len(split.class_names))
        run = learn(dataset, split, backbone, plan, out=run_folder(out, seed), **rest)
        zero_shot = ZeroShot(
            backbone, replace(run.method.task, templates=tuple(run.info.zero_shot_templates))
        )
        values, reference = (
            {"base": run.scores["test"]["accuracy"]},
            {"base": run.scores["zero_shot"]["accuracy"]},
        )
        encoder = encoder_for(dataset, backbone, run.method, rest)
        for name in ("new", "all"):
            names, items = parts[name]
            asked = other(run.method, names, plan.method)
            held = HeldOut.read(encoder, asked, items, f"{name} classes")
            for found, scores in (
                (values, evaluate(asked, held.own)),
                (reference, evaluate(zero_shot.for_classes(names), held.features)),
            ):
                found[name] = scores.accuracy
                if name == "all":
                    found |= both_kinds(scores, len(split.class_names))
        for found in (values, reference):
            found["harmonic_mean"] = harmonic_mean(found["base"], found["new"])
        yield (
            base_record(FACTS.name, dataset, backbone, plan, shots, seed, run)
            | values
            | {"zero_shot": reference}
        )


def both_kinds(scores: Scores, base: int) -> dict[str, float]:
    """How many pictures of base classes (the first ones) and of new ones are right among all names, per cent."""
    right, pictures = np.diag(scores.confusion), scores.confusion.sum(1)
    learned, new = (
        100 * float(right[kind].sum() / pictures[kind].sum()) for kind in (slice(base), slice(base, None))
    )
    return {"all_base": learned, "all_new": new, "all_harmonic_mean": harmonic_mean(learned, new)}


def class_parts(
    dataset: Dataset, order: list[int], base: int
) -> dict[str, tuple[tuple[str, ...], list[Item]]]:
    """Names and test pictures of the new classes and of all, base classes first; labels renumbered."""
    if base == len(order):
        raise DataError(
            f"{dataset.name}: no classes are left as new ones; base_to_new needs at least two classes"
        )
    found = {}
    for name, labels in (("new", order[base:]), ("all", order)):
        number = {label: i for i, label in enumerate(labels)}
        items = [replace(i, label=number[i.label]) for i in dataset.items("test") if i.label in number]
        if not items:
            raise DataError(f"{dataset.name}: no test pictures of {name} classes")
        found[name] = (tuple(dataset.class_names[label] for label in labels), items)
    return found


def other(method: Method, names: Sequence[str], title: str) -> Method:
    try:
        return method.for_classes(names).eval()
    except OptionError as error:
        raise OptionError(f"{title} cannot be tested on new classes: {error}") from error
