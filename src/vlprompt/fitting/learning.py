"""fit: from a folder of pictures to a saved run; the whole story on one page.

pictures -> few-shot split -> backbone -> method -> inputs -> training -> scores -> run folder
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import vlprompt
from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.data.dataset import Dataset, Item, equal_notices
from vlprompt.data.opening import open_dataset
from vlprompt.data.sampling import Split, draw
from vlprompt.data.task import DEFAULT_TEMPLATE, Task
from vlprompt.errors import DataError, OptionError, RunError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder, FeatureInputs, Inputs, Progress, Views
from vlprompt.fitting.recipes import load_recipe
from vlprompt.locks import alone_in_its_folder
from vlprompt.methods.base import Method, Recipe, set_parameter
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.options import build
from vlprompt.runs.records import read_log
from vlprompt.runs.run import INFO, LOG, PRECISIONS, Run, read_info
from vlprompt.scoring.calibration import calibration_line
from vlprompt.scoring.evaluation import Scores, evaluate, logits_of
from vlprompt.scoring.outcome import Outcome
from vlprompt.training.checkpoints import FILE as CHECKPOINT
from vlprompt.training.checkpoints import Checkpoints
from vlprompt.training.checkpoints import read as read_checkpoint
from vlprompt.training.estimating import estimate
from vlprompt.training.loop import OnEpoch, message, train
from vlprompt.training.progress_bar import ProgressBar
from vlprompt.training.run_log import ESCAPED, RunLog, was_done
from vlprompt.training.seeds import generator
from vlprompt.training.train_options import TrainOptions

DEFAULT_METHOD = "coop+lamm"
# The zero-shot reference averages these, unless templates are given; prompts start from the first.
ZERO_SHOT_TEMPLATES = (
    DEFAULT_TEMPLATE,
    "a picture of a {}.",
    "a close-up photo of a {}.",
    "a photo of the {}.",
    "a {}",
    "{}",
)
LONG = 600.0  # seconds of training beyond which an estimate is printed

OnRecord = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Plan:
    """What to learn and how, beside data, backbone and seed.

    method: a name that `methods.load` knows. options: of the method. train: of the loop.
    templates: () for the default; the first is the method's, the mean of all is the zero-shot reference. A data set
        of the catalog brings its own for zero-shot and what builds on it; prompts start from "a photo of a {}.".
    """

    method: str = DEFAULT_METHOD
    options: dict[str, Any] = field(default_factory=dict)
    train: TrainOptions = field(default_factory=TrainOptions)
    templates: tuple[str, ...] = ()


def make_plan(
    method: str | type[Method] | None = None,
    options: dict[str, Any] | None = None,
    train: dict[str, Any] | TrainOptions | None = None,
    recipe: str | Path | None = None,
    templates: str | Sequence[str] | None = None,
) -> Plan:
    """A plan from loose input; what is given explicitly goes before what a recipe says."""
    held = load_recipe(recipe) if recipe is not None else None
    name = methods.name_of(method or (held.method if held else DEFAULT_METHOD))
    options = (held.options if held else {}) | dict(options or {})
    methods.load(name).options(options)  # bad values stop here, before anything is read
    if not isinstance(train, TrainOptions):
        train = build(TrainOptions, (held.train if held else {}) | dict(train or {}), owner="training")
    texts = (templates,) if isinstance(templates, str) else tuple(templates or ())
    return Plan(name, options, train, texts)


def fit(
    data: str | Path | Dataset,
    method: str | type[Method] | None = None,
    *,
    shots: int = 16,
    backbone: str | Path | Backbone = "embedded",
    seed: int = 1,
    out: str | Path | None = None,
    options: dict[str, Any] | None = None,
    train: dict[str, Any] | TrainOptions | None = None,
    recipe: str | Path | None = None,
    templates: str | Sequence[str] | None = None,
    classes: Any = None,
    device: str = "auto",
    precision: str = "float32",
    tokenizer: str | None = None,
    cache: FeatureCache | bool = True,
    calibrate: bool | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = False,
    on_record: OnRecord | None = None,
    command: str = "",
) -> Run:
    """Learns the classes of a data set from a few pictures of each.

    data: whatever `open_dataset` opens, or a Dataset. method: a name or a class; default "coop+lamm", or the recipe's.
    shots: training pictures per class, 0 for all. backbone: what `load_backbone` loads, or a Backbone.
    out: run folder; None keeps the run in memory. An interrupted run of the same settings in `out` goes
    on where it stopped; a finished one is loaded as it is. overwrite: replace what `out` holds.
    options, train: of the method and of the loop (`TrainOptions`), by name. recipe: a published one by
    name, or a file. templates: with one {} each. cache: features on disk; False for none.
    calibrate: divide logits by the temperature that suits the validation pictures best; None leaves a
    finished run as it is. It changes probabilities and no answer.
    progress: bars on stderr. on_record: told every record (messages, progress, steps, epochs).

    Returns the run with its scores: `run.scores["test"]`, and `["zero_shot"]` beside it. Pictures that cannot be read are
    skipped, and a notice counts them; DataError for a class that is left without any training picture.
    """
    if progress:
        with ProgressBar() as bar:
            return fit(
                data,
                method,
                shots=shots,
                backbone=backbone,
                seed=seed,
                out=out,
                options=options,
                train=train,
                recipe=recipe,
                templates=templates,
                classes=classes,
                device=device,
                precision=precision,
                tokenizer=tokenizer,
                cache=cache,
                calibrate=calibrate,
                resume=resume,
                overwrite=overwrite,
                command=command,
                on_record=both(bar, on_record),
            )
    plan = make_plan(method, options, train, recipe, templates)
    dataset = data if isinstance(data, Dataset) else open_dataset(data, classes=classes)
    split = draw(dataset, shots=shots, seed=seed)
    if not isinstance(backbone, Backbone):
        from vlprompt.backbones.loading import load_backbone

        backbone = load_backbone(str(backbone), device=device, precision=precision, tokenizer=tokenizer)
    return learn(
        dataset,
        split,
        backbone,
        plan,
        out=out,
        cache=cache,
        calibrate=calibrate,
        resume=resume,
        overwrite=overwrite,
        on_record=on_record,
        command=command,
        tokenizer=tokenizer,
    )


@alone_in_its_folder
def learn(
    dataset: Dataset,
    split: Split,
    backbone: Backbone,
    plan: Plan,
    *,
    out: str | Path | None = None,
    cache: FeatureCache | bool = True,
    calibrate: bool | None = None,
    resume: bool = True,
    overwrite: bool = False,
    on_record: OnRecord | None = None,
    command: str = "",
    tokenizer: str | None = None,
    after: Run | None = None,
) -> Run:
    """The same from a drawn split and a loaded backbone; what `fit` and the protocols share.

    after: a run to go on from. The split's class names begin with that run's; the method is its
    `extend` for the others. The earlier run stays as it is.
    """
    clock = Clock()
    if calibrate and not split.val:
        raise OptionError(
            f"calibrate: {dataset.name} has no validation pictures to fit a temperature on: give it a "
            "val folder, or more pictures of each class"
        )
    method, options, info = prepare(dataset, split, backbone, plan, tokenizer, after)
    folder = Path(out) if out is not None else None
    done = finished(folder, info, backbone, resume, overwrite)
    if done is not None:
        both(on_record)(message(f"{folder}: finished already with these settings, nothing is done again"))
        if calibrate is not None and calibrate != done.calibrated:
            done.calibrate(calibrate)
            done.save(folder or "")
        return done
    log = open_log(folder, info["settings"], resume)
    emit = both(log, on_record)
    try:
        info["notices"] = notices(dataset, split)
        for text in info["notices"]:
            emit(message(text))
        kept = FeatureCache(None if cache else False) if isinstance(cache, bool) else cache
        encoder = Encoder(dataset, backbone, cache=kept, budget=method.interpreter.budget, emit=emit)
        views = Views(options.view_count() if method.learns else 0, split.seed)
        inputs = encoder.inputs(
            method.needs, split.train if method.learns else [], views, what="training pictures"
        )
        lost = lost_training_pictures(split, inputs) if method.learns else {}
        held_out = {
            name: HeldOut.read(encoder, method, items, name)
            for name, items in (("test", split.test), ("val", split.val))
            if items
        }
        clock.lap("encode_s")
        scores: dict[str, Scores] = {}
        outcome = Outcome(method.task.class_names)
        reported = next(iter(held_out), None)  # test, or val without one
        if reported is not None:
            task = replace(method.task, templates=tuple(info["zero_shot_templates"]))
            logits = logits_of(ZeroShot(backbone, task), held_out[reported].features)
            scores["zero_shot"] = outcome.zero_shot(held_out[reported].features, logits)
            emit(score_record("zero-shot", reported, scores["zero_shot"]))
        clock.lap("zero_shot_s")
        trained = None
        if method.learns:
            get_ready(method, inputs, held_out.get("val"))
        if method.learns and method.trains:
            announce(method, len(inputs), options, emit)
            keeper = None
            if folder is not None:
                keeper = Checkpoints(
                    folder,
                    info["settings"],
                    every=options.save_seconds,
                    on_trouble=lambda text: emit(message(text)),
                )
                if not resume:
                    keeper.clear()
            on_epoch = validation(options, held_out.get("val"))
            trained = train(
                method, inputs, options, seed=split.seed, emit=emit, on_epoch=on_epoch, checkpoints=keeper
            )
        clock.lap("train_s", trained.seconds if trained else None)
        for name, part in held_out.items():
            tick = Progress(emit, f"scoring {name}", len(part.own))
            scores[name] = outcome.add(name, part.own, logits_of(method, part.own, on_progress=tick.to))
            emit(score_record(plan.method, name, scores[name]))
        clock.lap("evaluate_s")
        skipped = inputs.skipped + [s for part in held_out.values() for s in part.features.skipped]
        info["data"]["skipped"] = len(skipped)
        if skipped:
            info["notices"].append(skipped_notice(skipped, lost, logged=folder is not None))  # the last one
            emit(message(info["notices"][-1]))
        info |= {
            "reported": reported,
            "scores": {name: s.to_dict() for name, s in scores.items()},
            "training": asdict(trained) if trained else None,
            "timings": clock.laps,
            "parameters": method.trainable_parameters() if method.learns else 0,
            "versions": versions(),
            "machine": machine(backbone),
            "command": command,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "memory": peak_memory(backbone.device),
            **outcome.records(),
        }
        run = Run(method.eval(), backbone, info, log.records, predictions=outcome.predictions(reported))
        if calibrate:
            emit(message(calibration_line(run.calibrate().info["calibration"])))
    finally:
        log.close()
    if folder is not None:
        run.folder = folder if log.complete else None  # its log is there already
        run.save(folder)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return run


def prepare(
    dataset: Dataset,
    split: Split,
    backbone: Backbone,
    plan: Plan,
    tokenizer: str | None = None,
    after: Run | None = None,
) -> tuple[Method, TrainOptions, dict[str, Any]]:
    """The method with its initial values, the resolved training options, and what is known before training."""
    spec = methods.load(plan.method)
    spoken = plan.templates or (dataset.templates if spec.outermost.says_template else ())
    task = Task(split.class_names, spoken or (DEFAULT_TEMPLATE,), shots_of(split))
    if after is None:
        method = spec.build(backbone, task, plan.options, generator(split.seed, "initial values"))
    else:
        method = extended(after.learned, split.class_names)
    options = plan.train.resolved(recipe_of(method), method.needs)
    method.interpreter.budget = int(options.memory * 2**30) // 2  # the other half is for pictures
    info: dict[str, Any] = {
        "method": plan.method,
        "title": title(method),
        "paper": method.paper,
        "options": {k: v for s in spec.options(plan.options) for k, v in asdict(s).items()},
        "train": asdict(options) if method.learns and method.trains else None,
        "seed": split.seed,
        "shots": split.shots,
        "task_shots": task.shots,
        "class_names": list(task.class_names),
        "templates": list(task.templates),
        "zero_shot_templates": list(plan.templates or dataset.templates or ZERO_SHOT_TEMPLATES),
        "backbone": {
            "source": backbone.name,
            "fingerprint": backbone.fingerprint,
            "precision": PRECISIONS.get(backbone.dtype, str(backbone.dtype)),
            "tokenizer": tokenizer,
        },
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "split": dataset.split_origin,
            "classes": split.which,
            "train": len(split.train),
            "val": len(split.val),
            "test": len(split.test),
        },
    }
    if after is not None:
        info["after"] = after.info["settings"]
    drawn = [[(item.path, item.label) for item in items] for items in (split.train, split.val, split.test)]
    decisive = [info | {"train": options.decisive()}, drawn, backbone.device.type]
    info["settings"] = hashlib.sha256(
        json.dumps(decisive, ensure_ascii=False).encode(errors=ESCAPED)
    ).hexdigest()[:16]
    info["data"]["origin"] = dataset.origin  # where they lie decides nothing
    return method, options, info


def extended(method: Method, names: Sequence[str]) -> Method:
    """The method for its classes and further ones, with tensors of its own to go on learning."""
    known = len(method.task.class_names)
    if tuple(names[:known]) != method.task.class_names:
        raise OptionError("a run goes on with its own classes first, in their order, and then others")
    other = method.extend(list(names[known:])) if len(names) > known else method.for_classes(list(names))
    for name, value in list(other.named_parameters()):
        set_parameter(other, name, nn.Parameter(value.detach().clone(), requires_grad=value.requires_grad))
    return other.train()


def finished(
    folder: Path | None, info: dict[str, Any], backbone: Backbone, resume: bool, overwrite: bool
) -> Run | None:
    """The run that the folder holds, if it is this one; RunError if it holds another."""
    if folder is None or overwrite:
        return None
    mend = "choose another folder or overwrite it (--overwrite)"
    if (folder / INFO).exists():
        if not resume:
            raise RunError(f"{folder}: holds a finished run: {mend}")
        if read_info(folder).get("settings") != info["settings"]:
            raise RunError(f"{folder}: holds a finished run with other settings: {mend}")
        run = Run.load(folder, backbone)
        with suppress(OSError):  # a folder that may only be read
            (folder / CHECKPOINT).unlink(missing_ok=True)  # left by a crash behind the last write
        return run
    held = read_checkpoint(folder / CHECKPOINT)
    if held is not None and resume and held[1] != info["settings"]:
        raise RunError(f"{folder}: holds an interrupted run with other settings: {mend}")
    return None


def open_log(folder: Path | None, settings: str, resume: bool) -> RunLog:
    """The log of a run; of an interrupted one that goes on, what was logged up to its checkpoint is kept."""
    if folder is None:
        return RunLog()
    held = read_checkpoint(folder / CHECKPOINT) if resume else None
    old = read_log(folder / LOG) if held is not None and held[1] == settings else []
    try:
        return RunLog(folder / LOG, [r for r in old if held is not None and was_done(r, held[0])])
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{folder}: cannot be written ({reason}): choose another folder (--out)") from error


@dataclass(frozen=True)
class HeldOut:
    """Pictures to score on: frozen features for the zero-shot reference, and what the method needs."""

    features: Inputs
    own: Inputs

    @classmethod
    def read(cls, encoder: Encoder, method: Method, items: Sequence[Item], name: str) -> HeldOut:
        features = encoder.features(items, what=f"{name} pictures")
        if method.needs == "features":
            return cls(features, features)
        own = encoder.inputs(method.needs, features.items, what=f"{name} crops", known_good=True)
        return cls(features, own)


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


def get_ready(method: Method, inputs: Inputs, val: HeldOut | None) -> None:
    """Shows the method the features of the training and validation pictures, where they are at hand."""
    if not isinstance(inputs, FeatureInputs):
        return
    features, labels = inputs.features, inputs.labels.to(inputs.features.device)
    val_features, val_labels = features[0, :0], labels[:0]
    if val is not None and isinstance(val.features, FeatureInputs):
        val_features, val_labels = val.features.features[0], val.features.labels.to(features.device)
    method.prepare(features, labels, val_features, val_labels)


def announce(method: Method, pictures: int, options: TrainOptions, emit: OnRecord) -> None:
    """Says what training will take, if it is more than the budget or many minutes, and if it is all warm-up."""
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


def notices(dataset: Dataset, split: Split) -> list[str]:
    """What a user should know about the data before trusting a figure."""
    found = [*dataset.notices, *split.notices, *equal_notices(dataset)]
    if not split.test:
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


def shots_of(split: Split) -> int:
    """Training pictures per class as asked for; with all of them, their mean."""
    return split.shots or max(1, round(len(split.train) / max(1, len({i.label for i in split.train}))))


def recipe_of(method: Method) -> Recipe:
    """The published settings: of the method that LAMM wraps, if it learns."""
    base = getattr(method, "base", None)
    return base.recipe if isinstance(base, Method) and base.learns else method.recipe


def title(method: Method) -> str:
    base = getattr(method, "base", None)
    return f"{base.title} + {method.title}" if isinstance(base, Method) and base.learns else method.title


def score_record(who: str, split: str, scores: Scores) -> dict[str, Any]:
    text = (
        f"{who}: {scores.accuracy:.2f} % of {scores.count} {split} pictures, macro F1 {scores.macro_f1:.2f} %"
    )
    return message(text, scored=who, split=split, accuracy=scores.accuracy, count=scores.count)


def both(*receivers: OnRecord | None) -> OnRecord:
    """One receiver that passes records on to all."""
    own = [r for r in receivers if r is not None]

    def emit(record: dict[str, Any]) -> None:
        for receiver in own:
            receiver(record)

    return emit


def versions() -> dict[str, str]:
    import numpy
    import PIL

    return {
        "vlprompt": vlprompt.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }


def peak_memory(device: torch.device) -> dict[str, float]:
    """MiB that this process has taken at most since it began, and of the device if it has memory of its own."""
    found = {}
    try:
        import resource
    except ImportError:  # not on Windows
        pass
    else:
        unit = 2**20 if platform.system() == "Darwin" else 2**10
        found["process_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
    if device.type == "cuda":
        found["device_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return found


def machine(backbone: Backbone) -> dict[str, Any]:
    name = (
        torch.cuda.get_device_name(backbone.device) if backbone.device.type == "cuda" else platform.machine()
    )
    return {"device": backbone.device.type, "name": name, "threads": torch.get_num_threads()}


class Clock:
    """Seconds of the parts of a run, and `total_s`."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str, instead: float | None = None) -> None:
        """Ends a part; instead: its seconds, where earlier processes worked on it too."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last if instead is None else instead, 3)
        self.laps["total_s"] = round(sum(v for k, v in self.laps.items() if k != "total_s"), 3)
        self._last = now
