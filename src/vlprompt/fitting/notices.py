"""What a user is told: about the data before a figure is trusted, about long trainings, and about what was skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from vlprompt.data.dataset import Dataset, equal_notices
from vlprompt.data.sampling import Split
from vlprompt.errors import DataError
from vlprompt.feeding.inputs import Inputs
from vlprompt.fitting.measuring import CROSSED
from vlprompt.methods.base import Method
from vlprompt.runs.records import LOG
from vlprompt.scoring.evaluation import Scores
from vlprompt.scoring.uncertainty import accuracy_text
from vlprompt.training.estimating import estimate
from vlprompt.training.loop import message
from vlprompt.training.train_options import OF_PICTURES, TrainOptions

LONG = 600.0  # seconds of training beyond which an estimate is printed

OnRecord = Callable[[dict[str, Any]], None]


def announce(
    method: Method, pictures: int, options: TrainOptions, emit: OnRecord, asked: TrainOptions
) -> None:
    """Says what training will take, if it is more than the budget or many minutes, if it is all warm-up, and if it has more
    epochs than were asked for."""
    if options.epochs > asked.epochs:
        emit(
            message(
                f"{options.epochs} epochs in place of {asked.epochs}, since so few pictures are to be learned in "
                f"{asked.least_steps} steps at least (--least-steps 0: {asked.epochs} epochs)"
            )
        )
    if 0 < options.epochs <= options.warmup_epochs and options.warmup_lr < options.lr:
        emit(
            message(
                f"all {options.epochs} epochs are warm-up at lr {options.warmup_lr:g}, so little will be learned: "
                "more epochs, or --warmup-epochs 0"
            )
        )
    found = estimate(method, pictures, options)
    budget = method.interpreter.budget
    if found.exceeds(budget):
        emit(
            message(
                f"estimate: {found.text()}; the activations are more than the budget of "
                f"{budget / 2**30:.1f} GiB, so classes are computed in parts (slower, same numbers)"
            )
        )
    elif found.seconds > LONG:
        emit(message(f"estimate: {found.text()}"))


def without_effect(method: Method, asked: TrainOptions, emit: OnRecord) -> None:
    """Says which options were given in vain: those of steps, where nothing is learned in steps."""
    if method.facts.takes_steps:
        return
    if given := [name.replace("_", " ") for name in asked.given() if name not in OF_PICTURES]:
        emit(
            message(
                f"{method.facts.title} is not learned in steps, so what was given is not used: {', '.join(given)}"
            )
        )


def notices(dataset: Dataset, split: Split, crossed: bool) -> list[str]:
    """What a user should know about the data before trusting a figure."""
    found = [*dataset.notices, *split.notices, *equal_notices(dataset)]
    if crossed:
        found.append(
            f"all {len(split.train)} pictures are learned from; accuracy is measured by cross-validation, where every "
            "picture is judged by what the others teach (--test 0.3 holds a part out instead)"
        )
    elif not split.test:
        other = "the validation pictures are scored" if split.val else "nothing can be scored"
        found.append(f"{dataset.name} has no test pictures: {other}")
    return found


def lost_training_pictures(split: Split, inputs: Inputs) -> dict[str, tuple[int, int]]:
    """By class name: how many of how many drawn training pictures could not be read; classes that lost none are left out.

    DataError if a class has lost all of them: it would be learned from nothing, and still be a possible answer.
    """
    drawn, left = (Counter(item.label for item in items) for items in (split.train, inputs.items))
    lost = {split.class_names[k]: (n - left[k], n) for k, n in sorted(drawn.items()) if left[k] < n}
    if gone := {name: counts for name, counts in lost.items() if counts[0] == counts[1]}:
        paths = {item.path for item in split.train if split.class_names[item.label] in gone}
        reason = next(reason for path, reason in inputs.skipped if path in paths)
        raise DataError(
            f"no training picture can be read of {counted(gone)}, for example {reason}: "
            "mend or replace the pictures, or leave the class out"
        )
    return lost


def counted(lost: dict[str, tuple[int, int]]) -> str:
    """`cat (1 of 4), dog (2 of 4)`, five classes at most."""
    listed = ", ".join(f"{name} ({n} of {drawn})" for name, (n, drawn) in list(lost.items())[:5])
    return listed + (", ..." if len(lost) > 5 else "")


def skipped_notice(skipped: Sequence[tuple[str, str]], lost: dict[str, tuple[int, int]], logged: bool) -> str:
    """A sentence about pictures that could not be read. logged: the run has a log that names them all."""
    where = f"; {LOG} names them" if logged else f", for example {skipped[0][1]}"
    short = f"; classes with fewer training pictures for that: {counted(lost)}" if lost else ""
    return f"{len(skipped)} pictures could not be read and were skipped{where}{short}"


def score_record(who: str, split: str, scores: Scores) -> dict[str, Any]:
    """The record that says how right `who` is on a split, with the interval where pictures are few."""
    shown = accuracy_text(scores.correct, scores.count)
    pictures = {CROSSED: "pictures in cross-validation", "val": "validation pictures"}.get(
        split, f"{split} pictures"
    )
    text = f"{who}: {shown} of {scores.count} {pictures}, macro F1 {scores.macro_f1:.2f} %"
    return message(text, scored=who, split=split, accuracy=scores.accuracy, count=scores.count)
