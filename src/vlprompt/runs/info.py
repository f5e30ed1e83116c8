"""RunInfo: what run.json says about a run, read and checked in one place.

Reading needs neither torch nor a backbone. Whatever in the file is not of its kind (a text for a number, NaN, half a
character in a class name, a confusion of a class that there is not) is a RunError that names the file and the field,
so that nothing else has to ask. Fields of a newer version are kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from vlprompt.errors import OptionError, RunError
from vlprompt.files import finish_writing, read_file
from vlprompt.options import build
from vlprompt.record_schema import (
    OPTIONAL,
    Count,
    LocalPath,
    Name,
    Percent,
    Range,
    Record,
    WrongField,
    parse_json,
)
from vlprompt.scoring.calibration import CalibrationInfo
from vlprompt.scoring.rejection import RejectionInfo
from vlprompt.training.train_options import TrainOptions

if TYPE_CHECKING:
    from vlprompt.data.task import Task
    from vlprompt.scoring.evaluation import Scores

FORMAT = 1
INFO = "run.json"
CHECKPOINT = "checkpoint.safetensors"
MOST_SHOTS = 1_000_000  # room is made for so many pictures of a class at most
Shots = Annotated[int, Range(1, MOST_SHOTS)]


@dataclass
class BackboneInfo(Record):
    """The backbone that the prompts belong to. source: as it was named. revision: of a hub, if one was asked for.
    image_size: of its pictures, if it is another than it was trained on."""

    source: LocalPath
    fingerprint: Name
    precision: Name = "float32"
    tokenizer: LocalPath | None = None
    revision: Name | None = field(default=None, metadata=OPTIONAL)
    image_size: Annotated[int, Range(1, 1 << 16)] | None = field(default=None, metadata=OPTIONAL)


@dataclass
class DataInfo(Record):
    """The pictures. split: whose splits these are. classes: all, base or new. train, val, test: pictures that were
    used. skipped: that could not be read. per_class: fewest and most training pictures of a class. contents: hash of the
    bytes of all of them. origin: arguments with which `open_dataset` opens them again; seal: says that they were
    written here (see `seals`)."""

    name: str = "own pictures"
    fingerprint: str = ""
    split: str = ""
    classes: Literal["all", "base", "new"] = "all"
    train: Count = 0
    val: Count = 0
    test: Count = 0
    skipped: Count = 0
    per_class: tuple[Count, Count] | None = field(default=None, metadata=OPTIONAL)
    contents: str | None = field(default=None, metadata=OPTIONAL)
    origin: dict[str, Any] | None = field(default=None, metadata=OPTIONAL)
    seal: str | None = field(default=None, metadata=OPTIONAL)


@dataclass
class ClassScoreInfo(Record):
    """One class: its pictures; accuracy (recall), precision and f1 in per cent."""

    name: str
    count: Count
    accuracy: Percent
    precision: Percent
    f1: Percent


@dataclass
class ScoreInfo(Record):
    """Scores on pictures, as `Scores.to_dict` gives them: accuracy and macro_f1 in per cent, correct of count
    pictures. confusions: (true, predicted, pictures), the most frequent ones."""

    accuracy: Percent
    macro_f1: Percent
    correct: Count
    count: Count
    classes: list[ClassScoreInfo] = field(default_factory=list)
    confusions: list[tuple[Count, Count, Count]] = field(default_factory=list)

    @classmethod
    def of(cls, scores: Scores) -> ScoreInfo:
        """The record of scores as `evaluate` gives them."""
        return cls.from_json(scores.to_dict())

    def check(self, at: str) -> None:
        if self.correct > self.count:
            raise WrongField(f"{at}correct", f"is {self.correct}, more than the {self.count} pictures")
        for true, predicted, _ in self.confusions:
            if max(true, predicted) >= len(self.classes):
                raise WrongField(
                    f"{at}confusions", f"names class {max(true, predicted)} of {len(self.classes)}"
                )


@dataclass
class TrainedInfo(Record):
    """What the loop did; see `vlprompt.training.loop.Trained`."""

    epochs: Count = 0
    steps: Count = 0
    batch: Count = 0
    seconds: float = 0.0
    images_per_s: float = 0.0
    loss: float = 0.0
    accuracy: float = 0.0
    best_epoch: int | None = None


@dataclass
class MachineInfo(Record):
    """Where it was learned."""

    device: str = ""
    name: str = ""
    threads: Count = 0


@dataclass
class ImportedInfo(Record):
    """The checkpoint of other code that a run was made from."""

    file: str
    sha256: str
    epoch: int | None = None


@dataclass
class CandidateInfo(Record):
    """What was compared: hits among the pictures, mean loss in nats, whether it takes names that it has not learned."""

    name: str
    hits: Count
    loss: float
    new_names: bool


@dataclass
class ChoiceInfo(Record):
    """How `--method auto` chose. chosen: a candidate's name; names: the method that is asked about further names.

    count: held-out pictures of the comparison; folds: its parts. reason: where nothing was compared.
    """

    chosen: str
    names: str
    count: Count = 0
    folds: Count = 0
    candidates: list[CandidateInfo] = field(default_factory=list)
    reason: str = ""

    def check(self, at: str) -> None:
        for one in self.candidates:
            if one.hits > self.count:
                raise WrongField(f"{at}candidates", f"says {one.hits} hits of {self.count} pictures")


@dataclass
class TensorsInfo(Record):
    """The tensors file that run.json belongs to."""

    sha256: Name
    shapes: dict[str, list[Count]] = field(default_factory=dict)


@dataclass
class RunInfo(Record):
    """All that run.json holds.

    method, title, paper, options: what learned. train: of the loop, resolved; None where it takes no steps.
    class_names: by label; shown_classes: those the run was saved for, if others; labels: a classifier's own.
    templates: the method's; zero_shot_templates: the reference's. shots: as asked for, 0 for all; task_shots: pictures
    per class that the method was told. reported: the scores that stand for the run, a key of `scores`.
    timings: seconds; memory: MiB. settings: a hash that tells runs of different settings apart; after: that of the
    run it went on from. choice: of auto. measure: how it was measured, where it was asked for. more: fields that this version does not know.
    """

    method: Name
    class_names: list[Name]
    templates: list[Name]
    task_shots: Shots
    backbone: BackboneInfo
    options: dict[str, Any]
    title: str = ""
    paper: str = ""
    train: dict[str, Any] | None = None
    seed: int | None = None
    shots: Count = 0
    zero_shot_templates: list[Name] = field(default_factory=list)
    data: DataInfo = field(default_factory=DataInfo)
    after: str | None = field(default=None, metadata=OPTIONAL)
    settings: str = ""
    notices: list[str] = field(default_factory=list)
    reported: str | None = None
    scores: dict[str, ScoreInfo] = field(default_factory=dict)
    training: TrainedInfo | None = None
    timings: dict[str, float] = field(default_factory=dict)
    parameters: Count = 0
    versions: dict[str, str] = field(default_factory=dict)
    machine: MachineInfo = field(default_factory=MachineInfo)
    command: str = ""
    created: str = ""
    memory: dict[str, float] = field(default_factory=dict)
    calibration: CalibrationInfo | None = None
    rejection: RejectionInfo | None = None
    imported: ImportedInfo | None = field(default=None, metadata=OPTIONAL)
    choice: ChoiceInfo | None = field(default=None, metadata=OPTIONAL)
    measure: dict[str, Any] | None = field(default=None, metadata=OPTIONAL)
    labels: list[Name | bool | int | float] | None = field(default=None, metadata=OPTIONAL)
    format: Count = FORMAT
    shown_classes: list[Name] | None = None
    tensors: TensorsInfo | None = None

    def check(self, at: str) -> None:
        for name in ("class_names", "templates"):
            if not getattr(self, name):
                raise WrongField(name, "is empty")
        if self.shown_classes is not None and not self.shown_classes:
            raise WrongField("shown_classes", "is empty")
        if self.labels is not None and len(self.labels) != len(self.shown_classes or self.class_names):
            raise WrongField("labels", f"holds {len(self.labels)} values: expected one for each class")
        if self.train is not None:
            try:
                self.train_options  # noqa: B018 (checks them)
            except OptionError as error:
                raise WrongField("train", f"holds what it cannot ({error})") from error

    @classmethod
    def of_names(cls, task: Task, backbone: BackboneInfo) -> RunInfo:
        """Of zero-shot, which learns nothing."""
        return cls("zeroshot", list(task.class_names), list(task.templates), task.shots, backbone, {})

    # -- what others ask -------------------------------------------------------------------------

    @property
    def train_options(self) -> TrainOptions | None:
        """`train` as the options that it was; what this version does not know is left out."""
        if self.train is None:
            return None
        known = TrainOptions.__dataclass_fields__
        return build(TrainOptions, {key: value for key, value in self.train.items() if key in known})

    @property
    def epochs_done(self) -> int:
        """Passes over the training pictures that were made: with few of them more than `train` asks for."""
        if self.training is not None:
            return self.training.epochs
        return 0 if self.train_options is None else self.train_options.epochs

    @property
    def shown_title(self) -> str:
        """What it is called for readers; of what auto made, what that is."""
        return f"auto: {self.choice.chosen}" if self.choice is not None else self.title or self.method

    @property
    def shown_method(self) -> str:
        """The same by the method's own name, as it is typed."""
        return self.method if self.choice is None else self.shown_title

    @property
    def learned(self) -> ScoreInfo | None:
        """The scores that stand for the run."""
        return self.scores.get(self.reported or "")

    @property
    def zero_shot(self) -> ScoreInfo | None:
        """Those of the names alone, on the same pictures."""
        return self.scores.get("zero_shot")

    @property
    def probe(self) -> ScoreInfo | None:
        """Those of a linear probe on the same training pictures."""
        return self.scores.get("linear_probe")

    @property
    def pictures_text(self) -> str:
        """How many pictures of each class were learned from: `10 of each class`, `3 to 12 of each class`."""
        if self.data.per_class is not None:
            few, most = self.data.per_class
            return f"{few if few == most else f'{few} to {most}'} of each class"
        if self.shots and self.data.train == self.shots * len(self.class_names):
            return f"{self.shots} of each class"
        return f"{self.data.train / len(self.class_names):.3g} of each class on average"

    @property
    def calibrated(self) -> bool:
        return self.calibration is not None and self.calibration.applied

    # -- as it was before: a dictionary ----------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        _warn(key)
        return self.to_json()[key]

    def get(self, key: str, default: Any = None) -> Any:
        """As of a dictionary; deprecated."""
        _warn(key)
        return self.to_json().get(key, default)

    def __contains__(self, key: str) -> bool:
        return key in self.to_json()

    def keys(self) -> list[str]:
        """As of a dictionary, so that `dict(run.info)` and `{**run.info}` are the content of run.json."""
        return list(self.to_json())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __setitem__(self, key: str, value: Any) -> None:
        _warn(key)
        self.__dict__.update(type(self).from_json(self.to_json() | {key: value}).__dict__)


def _warn(key: str) -> None:
    warnings.warn(
        f'run.info["{key}"] is deprecated: info is a record now, whose fields are attributes (run.info.{key}); '
        "run.info.to_json() is the dictionary",
        DeprecationWarning,
        stacklevel=3,
    )


def read_info(folder: str | Path) -> RunInfo:
    """What run.json of a finished run says; RunError if there is none, or names what in it cannot be."""
    folder = Path(folder)
    path = folder / INFO
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such run folder")
    if not path.exists():
        with suppress(OSError):  # of a process that was killed while it replaced the run
            finish_writing(folder)
    if not path.exists():
        hint = "; its training was interrupted: run the same fit again to finish it"
        interrupted = (folder / CHECKPOINT).exists()
        raise RunError(f"{folder}: no {INFO} in it, so this is no finished run{hint if interrupted else ''}")
    try:
        data = read_file(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
    return parse_info(data, path)


def parse_info(data: bytes, path: Path) -> RunInfo:
    """The same from the bytes of a run.json. path: to name in errors."""
    try:
        held = parse_json(data)
        made_by = held.get("format", 0) if isinstance(held, dict) else 0
        if isinstance(made_by, (int, float)) and made_by > FORMAT:
            raise RunError(f"{path}: written by a newer vlprompt (format {made_by:g}): update vlprompt")
        info = RunInfo.from_json(held)
        if info.tensors is None:
            raise WrongField("tensors", "is missing")
    except (ValueError, RecursionError) as error:
        reason = "nested without end" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise RunError(f"{path}: damaged ({reason})") from error
    return info
