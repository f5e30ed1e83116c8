"""What is learned in a session, and what it says about pictures; nothing here knows of the page.

The list of classes is the page's: those with pictures can be learned, the others are known by their name alone.
What was learned is `session.run`; `answering` fits it to the list as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.sampling import Split
from vlprompt.data.sources import Folder
from vlprompt.data.splitting import draw_splits
from vlprompt.data.task import ZERO_SHOT_TEMPLATES, Task
from vlprompt.errors import DataError, OptionError, VlpromptError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.fitting.learning import learn
from vlprompt.fitting.measuring import CROSSED, GIVEN_ONLY, Measure
from vlprompt.fitting.plan import Plan, make_plan
from vlprompt.methods.base import Method
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.runs.info import RunInfo
from vlprompt.runs.run import Run, backbone_info
from vlprompt.scoring.evaluation import Scores, scores_of
from vlprompt.studio.offered_backbones import Backbones
from vlprompt.studio.tab_sessions import Session

if TYPE_CHECKING:
    from vlprompt.backbones.backbone import Backbone

ASIDE = 0.25  # of a class's pictures, kept to test with
FEWEST_ASIDE = 4  # pictures of a class of which some are kept
SEED = 1

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Choice:
    """What is chosen at the page. aside: keep some pictures of each class to test with, which are not learned from then;
    without, all are, and each is judged by what the others teach."""

    method: str
    backbone: str
    options: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    aside: bool = False


def keeps_apart(run: Run) -> bool:
    """Whether the method can learn further classes without touching those it knows."""
    return run.info.choice is None and type(run.learned).extend is not Method.extend


def new_classes(session: Session) -> list[str]:
    """Classes with pictures that the session's run has not learned."""
    known = session.run.learned.task.class_names if session.run is not None else ()
    return [shown.name for shown in session.classes if shown.pictures and shown.name not in known]


def learn_all(session: Session, backbones: Backbones, choice: Choice, report: Report) -> Run:
    """Learns every class that has pictures, from scratch. DataError when fewer than two have."""
    if session.run is not None:
        bare = {shown.name for shown in session.classes if not shown.pictures}
        lost = [name for name in session.run.learned.task.class_names if name in bare]
        if lost:
            raise DataError(
                f"{', '.join(lost[:5])}: learned earlier, and there are no pictures here to learn them from again. "
                "Learn only the new classes, or remove these"
            )
    names = tuple(shown.name for shown in session.classes if shown.pictures)
    if len(names) < 2:
        raise DataError("at least two classes need pictures: how else is one told from another?")
    plan = make_plan(choice.method, choice.options, choice.train)
    dataset, split = _lesson(session, names, names, choice.aside)
    run = _learn(session, backbones.get(choice.backbone), plan, dataset, split, report)
    session.backbone, session.studied = choice.backbone, {item.path for item in split.train}
    session.run = run
    return run


def learn_new(session: Session, backbones: Backbones, choice: Choice, report: Report) -> Run:
    """Learns the classes that came since, with the run's own method and settings; the others stay as they are."""
    before = session.run
    if before is None:
        raise DataError("nothing was learned yet: learn all classes first")
    new = new_classes(session)
    if not new:
        raise DataError("there is no new class with pictures: make one and drop pictures on it")
    if not keeps_apart(before):
        raise OptionError(f"{before.info.title} cannot learn new classes alone: learn all classes again")
    info = before.info
    given = tuple(info.templates)
    templates = () if given == Task(()).templates else given
    plan = make_plan(info.method, info.options, info.train or {}, templates=templates)
    dataset, split = _lesson(session, (*before.learned.task.class_names, *new), new, choice.aside)
    run = _learn(session, before.backbone, plan, dataset, split, report, before)
    session.studied |= {item.path for item in split.train}
    session.run = run
    return run


def _learn(
    session: Session,
    backbone: Backbone,
    plan: Plan,
    dataset: Dataset,
    split: Split,
    report: Report,
    after: Run | None = None,
) -> Run:
    cache = FeatureCache(session.folder / "features")  # in the session's folder, and gone with it
    try:
        return learn(
            dataset,
            split,
            backbone,
            plan,
            out=session.new_folder("run"),
            measure=Measure() if after is None else GIVEN_ONLY,
            cache=cache,
            on_record=report,
            command="vlprompt studio",
            after=after,
        )
    finally:
        cache.close()


def _lesson(
    session: Session, names: Sequence[str], learned: Sequence[str], aside: bool
) -> tuple[Dataset, Split]:
    """The session's pictures as a data set, and what of it is for training: of the classes in `learned`.

    Tested are the pictures that are kept aside, and those of earlier classes that were not learned from.
    """
    number = {name: label for label, name in enumerate(names)}
    train: list[Item] = []
    test: list[Item] = []
    for shown in session.classes:
        if shown.name not in number:
            continue
        items = [Item(path, number[shown.name]) for path in shown.pictures]
        if shown.name not in learned:
            test += [item for item in items if item.path not in session.studied]
        elif aside and len(items) >= FEWEST_ASIDE:
            parts = draw_splits(items, seed=SEED, val_fraction=0.0, test_fraction=ASIDE)
            train += parts["train"]
            test += parts["test"]
        else:
            train += items
    splits = {"train": train} | ({"test": test} if test else {})
    dataset = Dataset("studio", tuple(names), tuple(names), splits, Folder(session.folder))
    return dataset, Split(tuple(names), train, [], test, 0, SEED)


# -- answers ---------------------------------------------------------------------------------------


def answering(session: Session) -> Run | None:
    """The session's run for the classes of its list; None before anything was learned, or without classes.

    OptionError where the method cannot fit it to them, such as one that takes no class by its name alone.
    """
    run, names = session.run, session.names
    if run is None or not names:
        return None
    try:
        return _fitted(run, names)
    except OptionError as error:
        new = [name for name in names if name not in run.learned.task.class_names]
        raise OptionError(_unfit(run, new)) from error


def keepable(session: Session) -> tuple[Run, list[str]] | None:
    """What can be taken away, and the classes of the list that it leaves out because its method cannot take them by
    their name alone; None when there is nothing."""
    run, names = session.run, session.names
    if run is None or not names:
        return None
    known = run.learned.task.class_names
    for kept in (names, tuple(name for name in names if name in known)):
        try:
            if kept:
                return _fitted(run, kept), [name for name in names if name not in kept]
        except VlpromptError:  # also of a name that is too long to be read
            continue
    return _fitted(run, known), [name for name in names if name not in known]


def _fitted(run: Run, names: tuple[str, ...]) -> Run:
    if names == run.class_names:
        return run
    if names == run.learned.task.class_names:
        return Run(run.learned, run.backbone, run.info, run.log)
    return run.for_classes(names)


def _unfit(run: Run, new: Sequence[str]) -> str:
    """Why a run cannot answer for the list of classes, and what helps."""
    title = run.learned.facts.title
    if not new:
        return f"{title} knows only all the classes together that it learned: press Learn again"
    shown = ", ".join(f'"{name}"' for name in new[:3]) + (", …" if len(new) > 3 else "")
    it = "it" if len(new) == 1 else "them"
    return (
        f"{title} knows only classes that it learned from pictures, and not {shown}: remove {it}, or press Learn again "
        f"with pictures of {it}"
    )


def names_alone(session: Session, backbones: Backbones, backbone: str) -> Run:
    """Zero-shot: what the names of the classes say by themselves. backbone: used before anything is learned."""
    run = session.run
    tower = run.backbone if run is not None else backbones.get(backbone)
    templates = (run.info.zero_shot_templates if run is not None else None) or ZERO_SHOT_TEMPLATES
    method = ZeroShot(tower, Task(session.names, tuple(templates))).eval()
    return Run(method, tower, RunInfo.of_names(method.task, backbone_info(tower)))


@dataclass(frozen=True)
class Answer:
    """One picture. names: the classes; zero_shot and learned: their probabilities; learned is None before anything
    was learned."""

    picture: str
    path: Any
    names: tuple[str, ...]
    zero_shot: np.ndarray
    learned: np.ndarray | None


def answers(session: Session, backbones: Backbones, backbone: str) -> list[Answer]:
    """What is said about the pictures that are asked about. DataError when there are fewer than two classes."""
    if len(session.classes) < 2:
        raise DataError("make at least two classes first; their names are enough for a first guess")
    tried = session.tried
    if not tried:
        return []
    paths = [path for _, path in tried]
    alone = names_alone(session, backbones, backbone)
    run = answering(session)
    zero_shot = alone.probabilities(paths)
    learned = run.probabilities(paths) if run is not None else None
    return [
        Answer(name, path, session.names, zero_shot[i], learned[i] if learned is not None else None)
        for i, (name, path) in enumerate(tried)
    ]


@dataclass(frozen=True)
class Wrong:
    """A picture of class `true` that is taken for `said`, with the probability of that."""

    path: Any
    true: str
    said: str
    sure: float


@dataclass(frozen=True)
class Check:
    """Scores on the same pictures. judged: in words, what they are to what was learned."""

    zero_shot: Scores
    learned: Scores
    wrong: tuple[Wrong, ...]
    judged: str


UNSEEN = "pictures that it had not seen"
IN_TURN = "pictures, each judged by what the others teach"
SEEN = "pictures that it has learned from, so this is better than it will be on others"


def judged_by(info: RunInfo) -> str:
    """What the pictures that a run is measured on are to what was learned."""
    return IN_TURN if info.reported == CROSSED else UNSEEN


def check(session: Session, backbones: Backbones) -> Check:
    """How good the session's run is: on pictures that it has not learned from, else on those that were judged in turn, or,
    where there are none either, on all."""
    run = answering(session)
    if run is None:
        raise DataError("nothing was learned yet: press Learn first")
    names = session.names
    every = [(path, label) for label, shown in enumerate(session.classes) for path in shown.pictures]
    if new := [pair for pair in every if pair[0] not in session.studied]:
        return _scored(session, backbones, run, new, UNSEEN)
    held = {row.path: row for row in run.predictions or () if row.split == CROSSED}
    crossed = [(path, label) for path, label in every if path in held and held[path].true == names[label]]
    if crossed and names == run.learned.task.class_names:
        place = {name: label for label, name in enumerate(names)}
        rows = [held[path] for path, _ in crossed]
        said = np.array([place[row.predicted] for row in rows])
        alone = np.array([place[row.zero_shot or row.predicted] for row in rows])
        return _found(session, crossed, said, [row.probability for row in rows], alone, IN_TURN)
    if not every:
        raise DataError("there are no pictures here to check with: drop some on the classes first")
    return _scored(session, backbones, run, every, SEEN)


def _scored(
    session: Session, backbones: Backbones, run: Run, pairs: Sequence[tuple[str, int]], judged: str
) -> Check:
    """What the run and the names alone say of these pictures now. pairs: path and label."""
    paths = [session.path(path) for path, _ in pairs]
    learned = run.probabilities(paths)
    alone = names_alone(session, backbones, session.backbone).probabilities(paths)
    return _found(session, pairs, learned.argmax(1), learned.max(1), alone.argmax(1), judged)


def _found(
    session: Session,
    pairs: Sequence[tuple[str, int]],
    said: np.ndarray,
    sure: Sequence[float] | np.ndarray,
    alone: np.ndarray,
    judged: str,
) -> Check:
    names, labels = session.names, np.array([label for _, label in pairs])
    wrong = [
        Wrong(session.path(pairs[i][0]), names[labels[i]], names[said[i]], float(sure[i]))
        for i in np.nonzero(said != labels)[0].tolist()
    ]
    wrong.sort(key=lambda one: -one.sure)
    return Check(scores_of(alone, labels, names), scores_of(said, labels, names), tuple(wrong), judged)
