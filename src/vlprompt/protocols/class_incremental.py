"""class_incremental: classes arrive in sessions; after each, all classes seen so far are tested.

A session trains on the pictures of its own classes only, a few shots of each. LAMM gives new classes label
tokens of their own and freezes everything else (`LAMM.extend`); the other methods go on training the tensors
that all classes share, and show what they forget.

With R[i][j] the accuracy, after session i, on the test pictures of the classes of session j (j <= i), chosen
among all classes seen by then, and a_i the accuracy on the test pictures of all of them:

    session_i          a_i
    average            mean_i a_i                          Rebuffi et al., iCaRL, CVPR 2017, section 4
    final              a_S
    forgetting         mean_{j<S} ( max_{j<=i<S} R[i][j] - R[S][j] )
                                                           Chaudhry et al., Riemannian Walk, ECCV 2018, section 4
    backward_transfer  mean_{j<S} ( R[S][j] - R[j][j] )    Lopez-Paz and Ranzato, GEM, NeurIPS 2017, section 2

These fall for any method, because later classes are more to choose from. What later sessions did to what
was learned is seen in two further values: `own_forgetting`, the same as forgetting with each session's
pictures scored among that session's classes only, and `text_change`, the largest absolute change of any
number in the text features of classes after the session that brought them. For LAMM both are exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlprompt.data.sampling import draw
from vlprompt.errors import DataError, OptionError, nearest
from vlprompt.protocols.protocol_facts import LOWER, NEITHER, Argument, ProtocolFacts, Value
from vlprompt.protocols.protocol_records import base_record
from vlprompt.protocols.protocol_setup import encoder_for, obstacle, open_both, plan_and_rest, test_needed

if TYPE_CHECKING:
    from torch import Tensor

    from vlprompt.backbones.backbone import Backbone
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.data.dataset import Dataset, Item
    from vlprompt.data.sampling import Split
    from vlprompt.methods.base import Batch, Method
    from vlprompt.runs.run import Run

FACTS = ProtocolFacts(
    name="class_incremental",
    title="Classes that arrive later",
    summary="learns classes in sessions",
    values=(
        Value("average", "average", "on average", gain=True, last=True),
        Value("final", "final", "on all classes at the end", gain=True, last=True),
        Value("forgetting", "forgetting", "forgetting", good=LOWER, gain=True, last=True),
        Value("backward_transfer", "backward transfer", "backward transfer", last=True),
        Value("own_forgetting", "own forgetting", "own forgetting", good=LOWER, last=True),
        Value("text_change", "text change", "change of text features", good=NEITHER, last=True),
    ),
    main="final",
    arguments=(
        Argument("sessions", "a whole number from 2 on, or the class names of each session", "--sessions"),
    ),
    new_classes="further",
    drawing="forgetting",
)
WITNESSES = 4  # pictures that text features are compared on, for methods whose text depends on them


def class_incremental(
    data: str | Path | Dataset,
    method: str | type[Method] | None = None,
    backbone: str | Path | BackboneSpec | Backbone = "embedded",
    *,
    sessions: int | Sequence[Sequence[str]] = 4,
    shots: int = 16,
    seeds: Sequence[int] = (1, 2, 3),
    out: str | Path | None = None,
    **more: Any,
) -> Iterator[dict[str, Any]]:
    """One record per seed: session_1, session_2, ..., average, final, forgetting, backward_transfer,
    own_forgetting (per cent), text_change; the same of zero-shot under "zero_shot"; R under "matrix".

    sessions: how many, of classes in label order and as equal in size as can be; or the class names of
        each. out: one run folder per seed and session in it, `seed1/session1`, ...; runs that are there
        already are not done again. more: as in `few_shot`.

    OptionError for a method that cannot take further classes, with the reason.
    """
    from vlprompt.fitting.learning import learn
    from vlprompt.fitting.lesson import HeldOut
    from vlprompt.methods.zeroshot import ZeroShot

    plan, setup, rest = plan_and_rest(method, more)
    if (reason := obstacle(FACTS.name, plan)) is not None:  # said before anything is trained
        raise OptionError(reason)
    dataset, backbone = open_both(data, backbone, setup)
    test_needed(dataset)
    groups = session_labels(dataset, sessions)
    for seed in seeds:
        whole = draw(dataset, shots=shots, seed=seed)
        course = Course(len(groups))
        reference = Course(len(groups))
        run: Run | None = None
        seconds = [0.0, 0.0]
        for number in range(1, len(groups) + 1):
            split = session_split(dataset, whole, groups[:number])
            folder = None if out is None else Path(out) / f"seed{seed}" / f"session{number}"
            try:
                run = learn(dataset, split, backbone, plan, out=folder, after=run, **rest)
            except OptionError as error:
                if number == 1:
                    raise
                raise OptionError(f"{plan.method} cannot take further classes: {error}") from error
            encoder = encoder_for(dataset, backbone, run.method, rest)
            held = HeldOut.read(encoder, run.method, split.test, f"session {number}")
            sizes = [len(labels) for labels in groups[:number]]
            course.add(run.method, held.own, sizes)
            zero_shot = ZeroShot(
                backbone, replace(run.method.task, templates=tuple(run.info.zero_shot_templates))
            )
            reference.add(zero_shot, held.features, sizes)
            seconds[0] += run.info.timings["train_s"]
            seconds[1] += run.info.timings["total_s"]
        assert run is not None
        yield base_record(
            FACTS.name, dataset, backbone, plan, shots, seed, run, own={"sessions": sessions}
        ) | {
            "seconds": round(seconds[0], 3),
            "total_seconds": round(seconds[1], 3),
            "folder": None if out is None else str(Path(out) / f"seed{seed}"),
            **course.values(),
            "matrix": course.matrix,
            "zero_shot": reference.values(),
            "classes": [[dataset.class_names[label] for label in labels] for labels in groups],
        }


def session_labels(dataset: Dataset, sessions: int | Sequence[Sequence[str]]) -> list[list[int]]:
    """The labels of each session; at least two sessions, and two classes in the first."""
    if isinstance(sessions, int):
        count = len(dataset.class_names)
        if not 2 <= sessions <= count - 1:
            raise OptionError(
                f"sessions is {sessions}: expected 2 to {max(2, count - 1)} for {count} classes"
            )
        return [part.tolist() for part in np.array_split(np.arange(count), sessions)]
    index = {name: label for label, name in enumerate(dataset.class_names)}
    for name in (name for names in sessions for name in names):
        if name not in index:
            raise OptionError(f'sessions: there is no class "{name}": {nearest(name, index)}')
    labels = [[index[name] for name in names] for names in sessions]
    flat = [label for group in labels for label in group]
    if len(labels) < 2 or len(labels[0]) < 2 or not all(labels) or len(set(flat)) < len(flat):
        raise OptionError("sessions: expected two or more, two or more classes in the first, none twice")
    return labels


def session_split(dataset: Dataset, whole: Split, groups: Sequence[Sequence[int]]) -> Split:
    """Training and validation pictures of the last group, test pictures of all; labels in order of arrival."""
    order = [label for labels in groups for label in labels]
    number = {label: i for i, label in enumerate(order)}
    new = set(groups[-1])

    def some(items: Sequence[Item], labels: set[int]) -> list[Item]:
        return [replace(item, label=number[item.label]) for item in items if item.label in labels]

    train, test = some(whole.train, new), some(whole.test, set(order))
    names = [dataset.class_names[label] for label in groups[-1]]
    if not train or not some(whole.test, new):
        lacking = "training" if not train else "test"
        raise DataError(f"{dataset.name}: no {lacking} pictures in the session of {', '.join(names[:5])}")
    return replace(
        whole,
        class_names=tuple(dataset.class_names[label] for label in order),
        train=train,
        val=some(whole.val, new),
        test=test,
    )


@dataclass
class Course:
    """What is measured after each session. sessions: how many there will be."""

    sessions: int

    def __post_init__(self) -> None:
        self.accuracy: list[float] = []
        self.matrix: list[list[float]] = []  # R
        self.own: list[list[float]] = []  # the same, among the classes of session j only
        self.text_change = 0.0
        self._text: Tensor | None = None
        self._witnesses: Batch | None = None

    def add(self, method: Method, inputs: Any, sizes: Sequence[int]) -> None:
        """inputs: test pictures of all classes seen; sizes: classes of each session so far."""
        from vlprompt.scoring.evaluation import logits_of

        logits, labels = logits_of(method, inputs), inputs.labels.numpy()
        hit = logits.argmax(1) == labels
        self.accuracy.append(100 * float(hit.mean()))
        matrix, own, start = [], [], 0
        for size in sizes:
            rows = (labels >= start) & (labels < start + size)
            inside = logits[rows, start : start + size].argmax(1) + start == labels[rows]
            matrix.append(100 * float(hit[rows].mean()))
            own.append(100 * float(inside.mean()))
            start += size
        self.matrix.append(matrix)
        self.own.append(own)
        self._compare_text(method, inputs)

    def _compare_text(self, method: Method, inputs: Any) -> None:
        """Text features on the same pictures as after the session before."""
        import torch

        if self._witnesses is None:
            self._witnesses = inputs.batch(torch.arange(min(WITNESSES, len(inputs))))
        with torch.no_grad():
            text = method.eval()(self._witnesses).text.float()
        if self._text is not None:
            change = (text[..., : self._text.shape[-2], :] - self._text).abs().max()
            self.text_change = max(self.text_change, float(change))
        self._text = text.clone()

    def values(self) -> dict[str, float]:
        """Named values after the last session, as the head of this file defines them."""
        found = {f"session_{i}": value for i, value in enumerate(self.accuracy, start=1)}
        return found | {
            "average": sum(self.accuracy) / len(self.accuracy),
            "final": self.accuracy[-1],
            "forgetting": forgetting(self.matrix),
            "backward_transfer": backward_transfer(self.matrix),
            "own_forgetting": forgetting(self.own),
            "text_change": self.text_change,
        }


def forgetting(matrix: Sequence[Sequence[float]]) -> float:
    """Mean over earlier sessions of how far accuracy on them lies below the best it ever was before the end."""
    last = len(matrix) - 1
    lost = [max(matrix[i][j] for i in range(j, last)) - matrix[last][j] for j in range(last)]
    return sum(lost) / len(lost)


def backward_transfer(matrix: Sequence[Sequence[float]]) -> float:
    """Mean over earlier sessions of accuracy at the end less accuracy right after the session."""
    last = len(matrix) - 1
    return sum(matrix[last][j] - matrix[j][j] for j in range(last)) / last
