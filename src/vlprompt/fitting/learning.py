"""fit: from a folder of pictures to a saved run; the whole story on one page.

pictures -> few-shot split -> backbone -> method -> inputs -> training -> scores -> run folder
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.loading import opened
from vlprompt.backbones.spec import BackboneSpec
from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.opening import open_dataset
from vlprompt.data.sampling import Split, draw
from vlprompt.errors import OptionError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder, FeatureInputs, Inputs, Progress, Views
from vlprompt.fitting.machine import Clock, machine, peak_memory, versions
from vlprompt.fitting.measuring import Measure
from vlprompt.fitting.notices import (
    OnRecord,
    announce,
    lost_training_pictures,
    notices,
    score_record,
    skipped_notice,
)
from vlprompt.fitting.older_arguments import modern
from vlprompt.fitting.outcome import Outcome
from vlprompt.fitting.plan import Plan, make_plan, prepare
from vlprompt.fitting.run_folders import checkpoint_key, contents_of, finished, open_log
from vlprompt.locks import alone_in_its_folder
from vlprompt.methods.base import Method
from vlprompt.methods.zeroshot import ZeroShot
from vlprompt.runs.info import ScoreInfo, TrainedInfo
from vlprompt.runs.run import Run
from vlprompt.scoring.calibration import calibration_line
from vlprompt.scoring.evaluation import Scores, evaluate, logits_of
from vlprompt.training.checkpoints import FILE as CHECKPOINT
from vlprompt.training.checkpoints import Checkpoints
from vlprompt.training.loop import OnEpoch, message, train
from vlprompt.training.progress_bar import ProgressBar
from vlprompt.training.train_options import TrainOptions


def fit(
    data: str | Path | Dataset,
    method: str | type[Method] | Plan | None = None,
    backbone: str | Path | BackboneSpec | Backbone = "embedded",
    *,
    shots: int = 16,
    seed: int = 1,
    out: str | Path | None = None,
    options: dict[str, Any] | None = None,
    train: dict[str, Any] | TrainOptions | None = None,
    measure: Measure | None = None,
    cache: FeatureCache | bool = True,
    resume: bool = True,
    overwrite: bool = False,
    progress: bool | OnRecord = False,
    command: str = "",
    **older: Any,
) -> Run:
    """Learns the classes of a data set from a few pictures of each.

    data: whatever `open_dataset` opens, or a Dataset. method: a name or a class; default "coop+lamm"; or a Plan, which
    `make_plan` makes of a published recipe or with templates of one's own. backbone: what `load_backbone` loads, a
    BackboneSpec (device, precision, tokenizer, ...), or a Backbone. shots: training pictures per class, 0 for all.
    out: run folder; None keeps the run in memory. An interrupted run of the same settings in `out` goes
    on where it stopped; a finished one is loaded as it is. overwrite: replace what `out` holds.
    options, train: of the method and of the loop (`TrainOptions`), by name. measure: how it is measured and whether it
    is calibrated. cache: features on disk; False for none. resume: False begins an interrupted run anew.
    progress: True for bars on stderr; or a function that is told every record (messages, progress, steps, epochs). command: what was typed, for the record.

    Returns the run with its scores: `run.scores["test"]`, and `["zero_shot"]` beside it. Pictures that cannot be read are
    skipped, and a notice counts them; DataError for a class that is left without any training picture.
    """
    measure = measure or Measure()
    told = progress if callable(progress) else None
    if older:
        given = modern(older, data, method, backbone, measure, {"options": options, "train": train})
        data, method, backbone, measure = given.data, given.method, given.backbone, given.measure
        told = both(told, given.on_record)
    plan = method if isinstance(method, Plan) else make_plan(method, options, train)
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    split = draw(dataset, shots=shots, seed=seed)
    with ProgressBar() if progress is True else nullcontext() as bar:
        return learn(
            dataset,
            split,
            opened(backbone),
            plan,
            out=out,
            cache=cache,
            calibrate=measure.calibrate,
            resume=resume,
            overwrite=overwrite,
            on_record=both(bar, told),
            command=command,
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
    method, options, info = prepare(dataset, split, backbone, plan, after)
    folder = Path(out) if out is not None else None
    kept = FeatureCache(None if cache else False) if isinstance(cache, bool) else cache
    info.data.contents = contents_of(dataset, (*split.train, *split.val, *split.test), kept)
    done = finished(folder, info, backbone, resume, overwrite)
    if done is not None:
        both(on_record)(message(f"{folder}: finished already with these settings, nothing is done again"))
        if calibrate is not None and calibrate != done.calibrated:
            done.calibrate(calibrate)
            done.save(folder or "")
        return done
    log = open_log(folder, checkpoint_key(info), resume)
    emit = both(log, on_record)
    try:
        info.notices = notices(dataset, split)
        for text in info.notices:
            emit(message(text))
        encoder = Encoder(dataset, backbone, cache=kept, budget=method.interpreter.budget, emit=emit)
        views = Views(options.view_count() if method.facts.learns else 0, split.seed)
        inputs = encoder.inputs(
            method.facts.needs, split.train if method.facts.learns else [], views, what="training pictures"
        )
        lost = lost_training_pictures(split, inputs) if method.facts.learns else {}
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
            task = replace(method.task, templates=tuple(info.zero_shot_templates))
            logits = logits_of(ZeroShot(backbone, task), held_out[reported].features)
            scores["zero_shot"] = outcome.zero_shot(held_out[reported].features, logits)
            emit(score_record("zero-shot", reported, scores["zero_shot"]))
        clock.lap("zero_shot_s")
        trained = None
        if method.facts.learns:
            get_ready(method, inputs, held_out.get("val"))
        if method.facts.learns and method.facts.trains:
            announce(method, len(inputs), options, emit)
            keeper = None
            if folder is not None:
                keeper = Checkpoints(
                    folder,
                    checkpoint_key(info),
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
        info.data.skipped = len(skipped)
        if skipped:
            info.notices.append(skipped_notice(skipped, lost, logged=folder is not None))  # the last one
            emit(message(info.notices[-1]))
        info.reported = reported
        info.scores = {name: ScoreInfo.of(s) for name, s in scores.items()}
        info.training = TrainedInfo.from_json(asdict(trained)) if trained else None
        info.timings = clock.laps
        info.parameters = method.trainable_parameters() if method.facts.learns else 0
        info.versions = versions()
        info.machine = machine(backbone)
        info.command = command
        info.created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        info.memory = peak_memory(backbone.device)
        info.calibration, info.rejection = outcome.records()
        run = Run(method.eval(), backbone, info, log.records, predictions=outcome.predictions(reported))
        if calibrate:
            run.calibrate()
            assert info.calibration is not None
            emit(message(calibration_line(info.calibration)))
    finally:
        log.close()
    if folder is not None:
        run.folder = folder if log.complete else None  # its log is there already
        run.save(folder)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return run


@dataclass(frozen=True)
class HeldOut:
    """Pictures to score on: frozen features for the zero-shot reference, and what the method needs."""

    features: Inputs
    own: Inputs

    @classmethod
    def read(cls, encoder: Encoder, method: Method, items: Sequence[Item], name: str) -> HeldOut:
        features = encoder.features(items, what=f"{name} pictures")
        if method.facts.cached:
            return cls(features, features)
        own = encoder.inputs(method.facts.needs, features.items, what=f"{name} crops", known_good=True)
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


def both(*receivers: OnRecord | None) -> OnRecord:
    """One receiver that passes records on to all."""
    own = [r for r in receivers if r is not None]

    def emit(record: dict[str, Any]) -> None:
        for receiver in own:
            receiver(record)

    return emit
