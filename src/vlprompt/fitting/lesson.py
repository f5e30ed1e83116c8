"""One lesson: pictures are read, a method is chosen if none was named, learns them, and is judged beside its references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.data.dataset import Item
from vlprompt.data.sampling import Split
from vlprompt.data.task import Task
from vlprompt.errors import TrainingError
from vlprompt.feeding.inputs import Encoder, FeatureInputs, Inputs, Progress, Views
from vlprompt.fitting.choosing import Chosen, choose
from vlprompt.fitting.measuring import CROSSED, Fold, Measure, can_be_crossed, crossed_logits, stratified
from vlprompt.fitting.notices import OnRecord, announce, lost_training_pictures, score_record
from vlprompt.fitting.outcome import Outcome
from vlprompt.fitting.plan import Plan
from vlprompt.methods.base import Method
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.scoring.evaluation import evaluate, logits_of
from vlprompt.scoring.rejection import class_means, likeness
from vlprompt.seeds import generator
from vlprompt.training.checkpoints import Checkpoints
from vlprompt.training.loop import OnEpoch, Trained, message, train
from vlprompt.training.train_options import TrainOptions

PROBE = "linear_probe"
MOST_PROBED = 6400  # training pictures beyond which nobody waits for a probe unasked
MOST_LOOKED_AT = 1024  # training pictures whose patches are shown to a method that asks for them
STATES = "patch_states"
WITH_STATES = frozenset({"features", STATES})


@dataclass(frozen=True)
class HeldOut:
    """Pictures to judge by: frozen features for the references, and what the method needs."""

    features: FeatureInputs
    own: Inputs

    @classmethod
    def read(cls, encoder: Encoder, method: Method, items: Sequence[Item], name: str) -> HeldOut:
        features = encoder.features(items, what=f"{name} pictures")
        if method.facts.cached:
            return cls(features, features)
        own = encoder.inputs(method.facts.needs, features.items, what=f"{name} crops", known_good=True)
        return cls(features, own)

    def part(self, index: torch.Tensor) -> HeldOut:
        """The pictures of these numbers alone."""
        features = self.features.part(index)
        return HeldOut(features, features if self.own is self.features else self.own.part(index))


@dataclass
class Lesson:
    """What a training needs and finds, step by step: (choose,) read, reference, teach, judge."""

    split: Split
    backbone: Backbone
    measure: Measure
    encoder: Encoder
    emit: OnRecord
    inputs: Inputs | None = None
    held_out: dict[str, HeldOut] = field(default_factory=dict)
    shown: FeatureInputs | None = None  # the training pictures as test crops
    lost: dict[str, tuple[int, int]] = field(default_factory=dict)
    chosen: Chosen | None = None
    outcome: Outcome = field(default_factory=lambda: Outcome(()))
    choosing: bool = False

    @property
    def crossed(self) -> bool:
        return can_be_crossed(self.split, self.measure)

    def choose(self, task: Task, zero_shot: Sequence[str]) -> Chosen:
        """The method that suits the training pictures; nothing else is looked at."""
        self.choosing = True
        spoken = replace(task, templates=tuple(zero_shot))
        self.chosen = choose(
            self._shown(),
            self.backbone,
            spoken,
            folds=self.measure.folds,
            seed=self.split.seed,
            emit=self.emit,
        )
        return self.chosen

    def _shown(self) -> FeatureInputs:
        if self.shown is None:
            known = self.inputs.items if self.inputs is not None and len(self.inputs) else self.split.train
            patches = STATES if self._with_patches(len(known)) else ""
            self.shown = self.encoder.features(known, what="training pictures", patches=patches)
        return self.shown

    def _with_patches(self, pictures: int) -> bool:
        """Whether what is chosen by itself may look at patches: the tower has some, and so many pictures' are soon read."""
        backbone, tower = self.backbone, self.backbone.image
        each = 4 * backbone.patches * backbone.image_width if getattr(tower, "gives_patches", False) else 0
        return self.choosing and bool(each) and pictures <= min(MOST_LOOKED_AT, self.encoder.budget // each)

    def read(self, method: Method, options: TrainOptions) -> None:
        """Training pictures as the method needs them, and those that are kept from it."""
        views = Views(self._views(method, options) if method.facts.learns else 0, self.split.seed)
        learned = self.split.train if method.facts.learns else []
        if self.shown is not None and method.facts.cached and not views.count and learned:
            self.inputs = self.shown
        else:
            self.inputs = self.encoder.inputs(method.facts.needs, learned, views, what="training pictures")
            if method.facts.cached and not views.count and learned:
                assert isinstance(self.inputs, FeatureInputs)
                self.shown = self.inputs
        if method.facts.learns:
            self.lost = lost_training_pictures(self.split, self.inputs)
        self.held_out = {
            name: HeldOut.read(self.encoder, method, items, name)
            for name, items in (("test", self.split.test), ("val", self.split.val))
            if items
        }

    @property
    def skipped(self) -> list[tuple[str, str]]:
        found = list(self.inputs.skipped) if self.inputs is not None else []
        if not found and self.crossed and self.shown is not None:
            found = list(self.shown.skipped)
        return found + [one for part in self.held_out.values() for one in part.features.skipped]

    # -- what else the same pictures give --------------------------------------------------------

    def reference(self, method: Method, templates: Sequence[str]) -> None:
        """Zero-shot, and a linear probe on the same training pictures, on what the run will be judged by."""
        task = replace(method.task, templates=tuple(templates))
        self.outcome = outcome = Outcome(method.task.class_names)
        reported = next(iter(self.held_out), CROSSED if self.crossed else None)  # test, or val without one
        if reported is None:
            return
        judged = self.held_out[reported].features if reported in self.held_out else self._shown()
        numbers = self._numbers(judged)
        judged = judged.part(torch.from_numpy(numbers))
        outcome.zero_shot(judged, logits_of(ZeroShot(self.backbone, task), judged))
        self.emit(score_record("zero-shot", reported, outcome.scores["zero_shot"]))
        if self.measure.folds and method.facts.learns and len(self.split.train) <= MOST_PROBED:
            self._probe(method.task, reported, judged)

    def _probe(self, task: Task, reported: str, judged: FeatureInputs) -> None:
        spec, shown = methods.load(PROBE), self._shown()

        def learned(inputs: FeatureInputs) -> Method:
            probe = spec.build(self.backbone, task, {"strength": 10.0})
            get_ready(probe, inputs, None)
            return probe

        try:
            if reported == CROSSED:
                logits, _ = crossed_logits(learned, shown, shown, self._folds(), len(task.class_names))
            else:
                logits = logits_of(learned(shown).eval(), judged)
        except TrainingError:  # pictures of one class
            return
        self.outcome.beside(PROBE, judged, logits)
        self.emit(score_record("linear probe", reported, self.outcome.scores[PROBE]))

    def known(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(means, likeness): mean feature of each class [C, d]; how like one of them pictures of known classes are that
        they were not made from, [N]. None where there are none, or nobody asked for figures."""
        if not self.measure.folds:
            return None
        shown, classes = self._shown(), len(self.split.class_names)
        x, y = shown.features[0].float().cpu().numpy(), shown.labels.numpy()
        means = class_means(x, y, classes)
        val = self.held_out.get("val")
        if val is not None and len(val.features):
            return means, likeness(val.features.features[0].float().cpu().numpy(), means)
        parts = [
            likeness(
                x[fold.held.numpy()], class_means(x[fold.learned.numpy()], y[fold.learned.numpy()], classes)
            )
            for fold in self._folds()
        ]
        return (means, np.concatenate(parts)) if parts else None

    def _folds(self) -> list[Fold]:
        return stratified(self._shown().labels, self.measure.folds, self.split.seed)

    def _numbers(self, judged: Inputs) -> np.ndarray:
        """Of the pictures that are judged: all of a split; of cross-validation those that some part holds out."""
        if self.held_out or not self.crossed:
            return np.arange(len(judged))
        return np.sort(np.concatenate([fold.held.numpy() for fold in self._folds()]))

    # -- the method itself -----------------------------------------------------------------------

    def teach(self, method: Method, options: TrainOptions, checkpoints: Checkpoints | None) -> Trained | None:
        """Learns all training pictures; what the loop did, None where there are no steps."""
        if not method.facts.learns:
            return None
        assert self.inputs is not None
        val = self.held_out.get("val")
        get_ready(method, self.inputs, val, self.encoder)
        if not method.facts.trains:
            return None
        asked, options = options, self._lasting(method, options, len(self.inputs))
        announce(method, len(self.inputs), options, self.emit, asked)
        return train(
            method,
            self.inputs,
            options,
            seed=self.split.seed,
            emit=self.emit,
            on_epoch=validation(options, val),
            checkpoints=checkpoints,
        )

    def _views(self, method: Method, options: TrainOptions) -> int:
        """How many views of a picture there are to be; reckoned from the pictures drawn, before it is known which can be read."""
        asked = options.lasting(len(self.split.train)) if method.facts.takes_steps else options
        return asked.view_count()

    def _lasting(self, method: Method, options: TrainOptions, pictures: int) -> TrainOptions:
        """With as many epochs over so many pictures as the options ask for, and no views but those that there are."""
        if not method.facts.takes_steps:
            return options
        views = self._views(method, options)
        return replace(options, views=str(views) if views else options.views).lasting(pictures)

    def judge(self, method: Method, plan: Plan, options: TrainOptions, title: str) -> Outcome:
        """Scores on the pictures that were kept from it; without any, of each part by what learned from the others."""
        for name, part in self.held_out.items():
            tick = Progress(self.emit, f"scoring {name}", len(part.own))
            self.outcome.add(name, part.own, logits_of(method, part.own, on_progress=tick.to))
            self.emit(score_record(title, name, self.outcome.scores[name]))
        if not self.held_out and self.crossed:
            shown = (
                HeldOut.read(self.encoder, method, self._shown().items, "training")
                if not method.facts.cached
                else None
            )
            own: Inputs = shown.own if shown is not None else self._shown()
            logits = self._crossed(method, plan, options, own)
            self.outcome.add(CROSSED, own.part(torch.from_numpy(self._numbers(own))), logits)
            self.emit(score_record(title, CROSSED, self.outcome.scores[CROSSED]))
        return self.outcome

    def _crossed(self, method: Method, plan: Plan, options: TrainOptions, own: Inputs) -> np.ndarray:
        if self.chosen is not None and self.chosen.logits is not None:
            return self.chosen.logits
        if not method.facts.learns:
            return logits_of(method, own.part(torch.from_numpy(self._numbers(own))))
        assert self.inputs is not None
        spec, told, seed = methods.load(plan.method), 0, self.split.seed
        folds = self._folds()

        def learned(inputs: Inputs) -> Method:
            nonlocal told
            told += 1
            self.emit(message(f"measuring: part {told} of {len(folds)} is judged by what the others teach"))
            other = spec.build(self.backbone, method.task, plan.options, generator(seed, "initial values"))
            other.interpreter.budget = method.interpreter.budget
            get_ready(other, inputs, None, self.encoder)
            if other.facts.trains:
                train(other, inputs, self._lasting(other, options, len(inputs)), seed=seed)
            return other

        return crossed_logits(learned, self.inputs, own, folds, len(method.task.class_names))[0]


def _looked_at(inputs: Inputs, encoder: Encoder) -> tuple[torch.Tensor, torch.Tensor]:
    """What stands at the patches of the training pictures as test crops, and their labels."""
    each = 4 * encoder.backbone.patches * encoder.backbone.image_width
    part = inputs.part(_in_turn(inputs.labels, max(1, min(MOST_LOOKED_AT, encoder.budget // each))))
    if not (isinstance(part, FeatureInputs) and part.kind == STATES and part.patches is not None):
        found = encoder.inputs(WITH_STATES, part.items, what="patches of training pictures")
        assert isinstance(found, FeatureInputs)
        part = found
    assert part.patches is not None
    return part.patches[0], part.labels.to(part.features.device)


def _in_turn(labels: torch.Tensor, most: int) -> torch.Tensor:
    """Numbers of so many pictures, in their order, of every class as many as there are."""
    if len(labels) <= most:
        return torch.arange(len(labels))
    place = torch.zeros(len(labels), dtype=torch.long)
    for label in labels.unique():
        own = labels == label
        place[own] = torch.arange(int(own.sum()))
    return place.argsort(stable=True)[:most].sort().values


def validation(options: TrainOptions, held_out: HeldOut | None) -> OnEpoch | None:
    """Scores on the validation pictures after some epochs, if that is asked for and there are any."""
    every = options.validate_every or (1 if options.select == "best" else 0)
    if held_out is None or not every:
        return None

    def on_epoch(epoch: int, method: Method) -> dict[str, float]:
        if (epoch + 1) % every and epoch + 1 < options.epochs:
            return {}
        return {"val_accuracy": evaluate(method, held_out.own).accuracy}

    return on_epoch


def get_ready(method: Method, inputs: Inputs, val: HeldOut | None, encoder: Encoder | None = None) -> None:
    """Shows the method the features of the training and validation pictures, where they are at hand, and patches if it
    asks for them."""
    if method.facts.shown_patches:
        assert encoder is not None
        method.prepare_patches(*_looked_at(inputs, encoder))
    if not isinstance(inputs, FeatureInputs):
        return
    features, labels = inputs.features, inputs.labels.to(inputs.features.device)
    val_features, val_labels = features[0, :0], labels[:0]
    if val is not None:
        val_features, val_labels = val.features.features[0], val.features.labels.to(features.device)
    method.prepare(features, labels, val_features, val_labels)
