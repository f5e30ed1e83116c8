"""auto: which method suits these pictures, by stratified cross-validation among the training pictures alone.

Compared are methods that are cheap on kept features: zero-shot, a linear probe and a bilinear probe at several penalties,
Tip-Adapter, LAMM and CoOp + LAMM where they are quick enough and keep up on the first part, and weighted sums of their
logits. Each is brought to its best temperature, so that logits of different kinds can be added, and the least loss
wins: of few pictures it says more than the number of hits. The accuracy that is told is that of choosing itself: each part of the pictures is judged by what the other parts
would have chosen (Cawley and Talbot, JMLR 2010, on why the winner's own figure would be too good).

Everything is a function of the pictures, their labels and the seed: no clock decides, so that a run that is
interrupted chooses the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.data.task import Task
from vlprompt.errors import VlpromptError
from vlprompt.feeding.inputs import FeatureInputs, Progress
from vlprompt.fitting.measuring import Fold, crossed_logits, stratified
from vlprompt.fitting.new_names import NewNames, for_new_names
from vlprompt.fitting.notices import OnRecord
from vlprompt.methods.base import Method
from vlprompt.methods.bilinear_probe import USUAL
from vlprompt.methods.blend import method_of, options_of, part_of
from vlprompt.methods.linear_probe import NEVER
from vlprompt.methods.softmax_regression import softmax_regression
from vlprompt.runs.info import CandidateInfo, ChoiceInfo
from vlprompt.seeds import generator
from vlprompt.temperature import fit_temperature, log_probabilities
from vlprompt.training.estimating import estimate
from vlprompt.training.loop import message, train
from vlprompt.training.train_options import TrainOptions

AUTO = "auto"
SAFE_FROM = 5  # pictures of every class below which nothing is chosen
STRENGTHS = (1.0, 10.0, 100.0)  # of the linear probe, on features of length 1
FROM_NAMES = (10.0, 100.0, 1000.0)  # of the bilinear probe
# Share of what a class may learn beside its name where nothing can be compared: more than usual gains where names say little, and
# loses less where they say much (docs/new-names.md); new names are spoken of by a probe with the usual share.
FEW_OWN = 3.0
SPEAKING = 10.0  # of one that speaks of new names: as good there as stronger ones, and nearest to zero-shot
SHARES = (0.25, 0.5, 1.0, 2.0)  # weights of what is added to the first part, both at their temperatures
PROMPTS = ("lamm", "coop+lamm")
RATE = 4e10  # operations a second that two cores reach, to judge what is quick enough
COMPARED = 40.0  # such seconds that prompts may take in the comparison
STEPS = 60  # of a prompt in the comparison
COMPARING = "comparing methods"
BLEND, PROBE, ZERO_SHOT, TIP = "blend", "linear_probe", "zeroshot", "tip_adapter"
BILINEAR, PATCHES = "bilinear_probe", "patch_map"


@dataclass(frozen=True)
class Candidate:
    """Parts, as a blend calls them, with the weight of each."""

    parts: tuple[str, ...]
    shares: tuple[float, ...]

    @property
    def name(self) -> str:
        words = [
            method_of(part) if share == 1 else f"{share:g} {method_of(part)}"
            for part, share in zip(self.parts, self.shares, strict=True)
        ]
        strengths = ", ".join(part.partition(":")[2] for part in self.parts if ":" in part)
        return " + ".join(words) + (f" (C {strengths})" if strengths else "")

    def has(self, method: str) -> bool:
        return any(method_of(part) == method for part in self.parts)


@dataclass
class Chosen:
    """method, options: to learn all pictures with. logits, numbers: of held-out pictures, as `crossed_logits` gives them;
    None where nothing was compared."""

    method: str
    options: dict[str, Any]
    train: TrainOptions
    record: ChoiceInfo
    logits: np.ndarray | None = None
    numbers: np.ndarray | None = None


def choose(
    training: FeatureInputs, backbone: Backbone, task: Task, *, folds: int, seed: int, emit: OnRecord
) -> Chosen:
    """What to learn these pictures with. training: test crops. task: with the templates of the zero-shot reference."""
    labels = training.labels.numpy()
    counts = np.bincount(labels, minlength=len(task.class_names))
    beside = _beside_new(training, len(counts))
    if counts.min() < SAFE_FROM:
        return _safe(int(counts.min()), beside)
    parts = stratified(labels, folds or 5, seed)
    made = _Logits(training, backbone, task, parts, seed, emit)
    made.begin()
    truth, place = labels[made.numbers], made.fold_of
    probes = [part_of(PROBE, strength) for strength in STRENGTHS]
    from_names = [part_of(BILINEAR, strength) for strength in FROM_NAMES]
    simple = _alone(ZERO_SHOT, TIP, *probes, *from_names)
    tried = [
        (one, made.of(one)) for one in (*simple, *_sums(probes, (ZERO_SHOT, TIP)), *_sums(probes, from_names))
    ]
    losses = np.array([_losses(logits, truth) for _, logits in tried])  # [K, M]
    if prompts := [name for name in made.prompts if made.keeps_up(name, losses)]:
        more = [(one, made.of(one)) for one in (*_alone(*prompts), *_sums(probes, prompts))]
        losses = np.concatenate([losses, [_losses(logits, truth) for _, logits in more]])
        tried += more
    best = int(losses.mean(1).argmin())
    crossed = np.empty_like(tried[0][1])
    for k in range(len(parts)):
        own = place == k
        chosen = int(losses[:, ~own].mean(1).argmin())
        crossed[own] = tried[chosen][1][own]
    hits = [int((logits.argmax(1) == truth).sum()) for _, logits in tried]
    one = tried[best][0]
    new = beside if len(one.parts) > 1 or ":" in one.parts[0] else None
    names = _speaker(one, new)
    record = ChoiceInfo(
        chosen=one.name,
        names=method_of(names),
        count=len(truth),
        folds=len(parts),
        candidates=[
            CandidateInfo(candidate.name, hit, round(float(loss.mean()), 4), _new_names(candidate))
            for (candidate, _), hit, loss in zip(tried, hits, losses, strict=True)
        ],
    )
    return _chosen(one, made, names, new, record, crossed)


def _new_names(one: Candidate) -> bool:
    return not one.has(PROBE)


def _losses(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """-log p of the true class of each picture, at the temperature that suits all best."""
    found = log_probabilities(logits, fit_temperature(logits, truth))
    return np.array(-found[np.arange(len(truth)), truth])


def _alone(*parts: str) -> Iterator[Candidate]:
    return (Candidate((part,), (1.0,)) for part in parts)


def _sums(probes: Iterable[str], others: Iterable[str]) -> Iterator[Candidate]:
    """A linear probe with what the words or the pictures say beside."""
    for probe, other, share in product(probes, others, SHARES):
        yield Candidate((probe, other), (1.0, share))


class _Logits:
    """Logits of every part on the held-out pictures, at their own temperatures, made once."""

    def __init__(
        self,
        training: FeatureInputs,
        backbone: Backbone,
        task: Task,
        folds: Sequence[Fold],
        seed: int,
        emit: OnRecord,
    ) -> None:
        self.training, self.backbone, self.task = training, backbone, task
        self.folds, self.seed, self.emit = folds, seed, emit
        self.numbers = np.sort(np.concatenate([fold.held.numpy() for fold in folds]))
        self.fold_of = np.empty(len(self.numbers), int)
        for k, fold in enumerate(folds):
            self.fold_of[np.searchsorted(self.numbers, fold.held.numpy())] = k
        self.truth = training.labels.numpy()[self.numbers]
        self.prompts: list[str] = []
        self.progress = Progress(lambda record: None, COMPARING, 0)  # nobody waits for a single part
        self.temperatures: dict[str, float] = {}
        self._held: dict[str, np.ndarray] = {}

    def begin(self) -> None:
        """Before a comparison: which prompts take part in it, and how much there is to do."""
        self.prompts = [name for name in PROMPTS if self._quick(name)]
        parts = len((ZERO_SHOT, TIP)) + len(STRENGTHS) + len(FROM_NAMES)
        steps = STEPS * len(self.prompts)
        total = len(self.folds) * parts + (len(self.folds) + 1) * steps
        self.progress = Progress(self.emit, COMPARING, total, pictures=False)

    def of(self, one: Candidate) -> np.ndarray:
        """[M, C]."""
        parts = [share * self._part(part) for part, share in zip(one.parts, one.shares, strict=True)]
        return np.asarray(sum(parts))

    def _part(self, key: str) -> np.ndarray:
        if key not in self._held:
            found = self._made(key)
            self.temperatures[key] = fit_temperature(found, self.truth)
            self._held[key] = found / self.temperatures[key]
        return self._held[key]

    def _made(self, key: str) -> np.ndarray:
        name, options = method_of(key), options_of(key)
        if name == PROBE:
            return self._probe(options["strength"])
        self.emit(message(f"comparing: {name}"))
        found, numbers = crossed_logits(
            self._learner(name, options), self.training, self.training, self.folds, len(self.task.class_names)
        )
        assert (numbers == self.numbers).all()
        return found

    def _probe(self, strength: float) -> np.ndarray:
        x, y = self.training.features[0].double().cpu().numpy(), self.training.labels.numpy()
        found = np.full((len(self.numbers), len(self.task.class_names)), NEVER, np.float32)
        for fold in self.folds:
            seen, held = fold.learned.numpy(), fold.held.numpy()
            known, numbers = np.unique(y[seen], return_inverse=True)
            rows = np.searchsorted(self.numbers, held)
            found[rows[:, None], known] = softmax_regression(x[seen], numbers, strength).logits(x[held])
            self.progress.add(1)
        return found

    def _learner(self, name: str, options: dict[str, Any] | None = None) -> Callable[[FeatureInputs], Method]:
        def tick(record: dict[str, Any]) -> None:
            self.progress.add(record["event"] == "step")

        def learned(inputs: FeatureInputs) -> Method:
            method = methods.load(name).build(
                self.backbone, self.task, options or {}, generator(self.seed, "initial values")
            )
            if method.facts.learns:
                none = inputs.features[0, :0], inputs.labels[:0]
                method.prepare(inputs.features, inputs.labels.to(inputs.features.device), *none)
            if method.facts.takes_steps:
                train(method, inputs, quick_options(method, len(inputs), STEPS), seed=self.seed, emit=tick)
            else:
                self.progress.add(1)
            return method

        return learned

    def weights_of(self, one: Candidate) -> dict[str, float]:
        """Of its parts' logits, so that the sum has the temperature that suits it best."""
        temperature = fit_temperature(self.of(one), self.truth)
        return {
            part: share / (self.temperatures[part] * temperature)
            for part, share in zip(one.parts, one.shares, strict=True)
        }

    def _quick(self, name: str) -> bool:
        """Whether a prompt fits the backbone, and is learned soon enough to be compared."""
        try:
            method = methods.load(name).build(
                self.backbone, self.task, {}, generator(self.seed, "initial values")
            )
            options = quick_options(method, len(self.training), STEPS)
            needed = estimate(method, len(self.training), options, rate=RATE).seconds * len(self.folds)
        except VlpromptError as error:  # such as a context that is too long for the text tower
            self.emit(message(f"{name} is not compared: {error}"))
            return False
        return needed * len(PROMPTS) <= COMPARED

    def keeps_up(self, name: str, losses: np.ndarray) -> bool:
        """Whether a prompt alone does as well as the best of the others on the first part. losses: of these, [K, M]."""
        self.emit(message(f"trying: {name}"))
        first = self.folds[:1]
        classes = len(self.task.class_names)
        found, _ = crossed_logits(self._learner(name), self.training, self.training, first, classes)
        own = self.fold_of == 0
        if float(_losses(found, self.truth[own]).mean()) <= float(losses[:, own].mean(1).min()):
            return True
        self.progress.add(STEPS * len(self.folds))
        self.emit(message(f"{name}: falls behind on the first part of the pictures and is left out"))
        return False


def quick_options(method: Method, pictures: int, steps: int) -> TrainOptions:
    """Whole-batch training in so many steps, on test crops."""
    given = TrainOptions(
        epochs=steps, batch=pictures, views="center", warmup_epochs=0, optimizer="adamw", lr=0.01
    )
    return given.resolved(method.facts.recipe, method.facts.needs)


def _beside_new(training: FeatureInputs, classes: int) -> NewNames:
    """How a blend is to speak of names that it has not learned."""
    # both stay near zero-shot, so that their logits mean what they say
    voices = [part_of(BILINEAR, SPEAKING), *([] if training.patches is None else [PATCHES])]
    return for_new_names(voices, len(training), classes)


def _speaker(one: Candidate, new: NewNames | None) -> str:
    """The part that stands for the blend's names: a prompt in it, or the bilinear probe that speaks of new ones."""
    known = (*one.parts, *(new.weights if new is not None else ()))
    prompts = [part for part in one.parts if part in PROMPTS]
    probes = [part for part in reversed(known) if method_of(part) == BILINEAR]
    return [*prompts, *probes, part_of(BILINEAR, USUAL)][0]


def _chosen(
    one: Candidate, made: _Logits, names: str, new: NewNames | None, record: ChoiceInfo, crossed: np.ndarray
) -> Chosen:
    """The winner as a method; with a probe in it, a blend that keeps what speaks of further names beside."""
    taught = one.parts[0]
    name = method_of(taught)
    if len(one.parts) == 1 and name != PROBE and new is None:
        found = Chosen(name, options_of(taught), TrainOptions(), record, crossed, made.numbers)
    else:
        weights = made.weights_of(one)
        for name in (*(new.weights if new else ()), names):
            weights.setdefault(name, 0.0)
        options = blend_options(weights, names, new)
        taught = next((name for name in weights if name in PROMPTS), "")
        found = Chosen(BLEND, options, TrainOptions(), record, crossed, made.numbers)
    if taught in PROMPTS:
        method = methods.load(taught).build(
            made.backbone, made.task, {}, generator(made.seed, "initial values")
        )
        quick = quick_options(method, len(made.training), STEPS)
        found.train = TrainOptions(**{k: v for k, v in asdict(quick).items() if k in _GIVEN})
    return found


_GIVEN = ("epochs", "batch", "views", "warmup_epochs", "optimizer", "lr")


def blend_options(weights: dict[str, float], names: str, new: NewNames | None = None) -> dict[str, Any]:
    """Options of a blend."""
    beside: dict[str, Any] = {}
    if new is not None:
        beside["new_weights"] = _text(new.weights.get(name, 0.0) for name in weights)
        beside["new_offset"] = new.offset
        beside["gated"], beside["gated_by"] = True, "best"
    return {"parts": " ".join(weights), "weights": _text(weights.values()), "names": names, **beside}


def _text(values: Iterable[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _safe(fewest: int, new: NewNames) -> Chosen:
    """Too few pictures to compare anything by: a bilinear probe, which begins at what the names say."""
    reason = (
        f"{fewest} pictures of a class are too few to compare methods by ({SAFE_FROM} are not): taken is what is known to "
        "be safe, a bilinear probe"
    )
    part = part_of(BILINEAR, USUAL, FEW_OWN)
    record = ChoiceInfo(chosen=BILINEAR, names=BILINEAR, reason=reason)
    weights = {part: 1.0} | {name: 0.0 for name in new.weights if name != part}
    return Chosen(BLEND, blend_options(weights, part, new), TrainOptions(), record)
