"""fit: from a folder of pictures to a saved run; the whole story on one page.

pictures -> few-shot split -> backbone -> method -> inputs -> training -> scores -> run folder
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.loading import opened
from vlprompt.backbones.spec import BackboneSpec, spec_of
from vlprompt.data.dataset import Dataset
from vlprompt.data.opening import open_dataset
from vlprompt.data.sampling import Split, draw
from vlprompt.errors import DataError, OptionError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder
from vlprompt.fitting.choosing import AUTO
from vlprompt.fitting.lesson import Lesson
from vlprompt.fitting.machine import Clock, machine, peak_memory, versions
from vlprompt.fitting.measuring import CROSSED, GIVEN_ONLY, Measure, can_be_crossed, divided
from vlprompt.fitting.notices import OnRecord, notices, skipped_notice, without_effect
from vlprompt.fitting.older_arguments import modern
from vlprompt.fitting.plan import Plan, make_plan, prepare, settled
from vlprompt.fitting.recipes import measured_for
from vlprompt.fitting.run_folders import check_still_there, checkpoint_key, contents_of, finished, open_log
from vlprompt.locks import alone_in_its_folder
from vlprompt.methods.base import Method
from vlprompt.runs.info import INFO, ScoreInfo, TrainedInfo
from vlprompt.runs.run import Run
from vlprompt.scoring.calibration import calibration_line
from vlprompt.scoring.rejection import RejectionInfo, thresholds
from vlprompt.training.checkpoints import FILE as CHECKPOINT
from vlprompt.training.checkpoints import Checkpoints
from vlprompt.training.loop import message
from vlprompt.training.progress_bar import ProgressBar
from vlprompt.training.train_options import TrainOptions


def fit(
    data: str | Path | Dataset,
    method: str | type[Method] | Plan | None = None,
    backbone: str | Path | BackboneSpec | Backbone = "embedded",
    *,
    shots: int = 0,
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

    data: whatever `open_dataset` opens, or a Dataset; all pictures of one without splits are learned from. method: a name
    or a class; default "auto", which compares some on the training pictures and takes the best; or a Plan, which
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
    plan = method if isinstance(method, Plan) else named_plan(method, options, train, backbone)
    dataset = data if isinstance(data, Dataset) else open_dataset(data, test_fraction=0.0, val_fraction=0.0)
    dataset = divided(dataset, measure)
    split = draw(dataset, shots=shots, seed=seed)
    with ProgressBar() if progress is True else nullcontext() as bar:
        return learn(
            dataset,
            split,
            opened(backbone),
            plan,
            out=out,
            measure=measure,
            cache=cache,
            resume=resume,
            overwrite=overwrite,
            on_record=both(bar, told),
            command=command,
        )


def named_plan(
    method: str | type[Method] | None,
    options: Any,
    train: Any,
    backbone: str | Path | BackboneSpec | Backbone,
) -> Plan:
    """The plan with the settings that were measured for the backbone's size, and what is given before them."""
    source = backbone.name if isinstance(backbone, Backbone) else spec_of(backbone).source
    return make_plan(method, options, train, measured_for(methods.name_of(method or AUTO), source))


@alone_in_its_folder
def learn(
    dataset: Dataset,
    split: Split,
    backbone: Backbone,
    plan: Plan,
    *,
    out: str | Path | None = None,
    measure: Measure = GIVEN_ONLY,
    cache: FeatureCache | bool = True,
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
    folder = Path(out) if out is not None else None
    if measure.calibrate and not split.val and not can_be_crossed(split, measure):
        raise OptionError(
            f"calibrate: {dataset.name} has no validation pictures to fit a temperature on: give it a "
            "val folder, or more pictures of each class"
        )
    method, options, info = prepare(dataset, split, backbone, plan, after)
    folder = Path(out) if out is not None else None
    kept = FeatureCache(None if cache else False) if isinstance(cache, bool) else cache
    drawn = (*split.train, *split.val, *split.test)
    info.data.contents = contents_of(dataset, drawn, kept)
    done = finished(folder, info, backbone, resume, overwrite)
    if done is not None:
        both(on_record)(message(f"{folder}: finished already with these settings, nothing is done again"))
        if measure.calibrate is not None and measure.calibrate != done.calibrated:
            done.calibrate(measure.calibrate)
            done.save(folder or "")
        return done
    log = open_log(folder, checkpoint_key(info), resume)
    emit = both(log, on_record)
    try:
        info.notices = list(plan.notices) + notices(dataset, split, can_be_crossed(split, measure))
        for text in info.notices:
            emit(message(text))
        encoder = Encoder(dataset, backbone, cache=kept, budget=method.interpreter.budget, emit=emit)
        lesson = Lesson(split, backbone, measure, encoder, emit)
        asked = plan.train
        try:
            if plan.method == AUTO:
                chosen = lesson.choose(method.task, info.zero_shot_templates)
                plan, method, options, info = settled(dataset, split, backbone, plan, chosen, info)
            without_effect(method, asked, emit)
            lesson.read(method, options)
        except (
            DataError
        ) as error:  # "no picture of a class can be read" is no news when the whole drive has gone
            check_still_there(dataset, drawn, kept, info.data.contents, [("", str(error))])
            raise
        check_still_there(dataset, drawn, kept, info.data.contents, lesson.skipped)
        clock.lap("encode_s")
        lesson.reference(method, info.zero_shot_templates)
        clock.lap("zero_shot_s")
        trained = lesson.teach(
            method, options, checkpoints_in(folder, checkpoint_key(info), options, resume, emit)
        )
        clock.lap("train_s", trained.seconds if trained else None)
        outcome = lesson.judge(method, plan, options, info.shown_title)
        check_still_there(dataset, drawn, kept, info.data.contents, lesson.skipped)
        clock.lap("evaluate_s")
        info.data.skipped = len(lesson.skipped)
        if lesson.skipped:
            info.notices.append(
                skipped_notice(lesson.skipped, lesson.lost, logged=folder is not None)
            )  # the last one
            emit(message(info.notices[-1]))
        info.measure = asdict(measure) if measure != GIVEN_ONLY else None
        info.reported = outcome.reported
        info.scores = {name: ScoreInfo.of(found) for name, found in outcome.scores.items()}
        info.training = TrainedInfo.from_json(asdict(trained)) if trained else None
        info.timings = clock.laps
        info.parameters = method.trainable_parameters() if method.facts.learns else 0
        info.versions = versions()
        info.machine = machine(backbone)
        info.command = command
        info.created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        info.memory = peak_memory(backbone.device)
        info.calibration, info.rejection = outcome.records()
        run = Run(method.eval(), backbone, info, log.records, predictions=outcome.predictions())
        if (known := lesson.known()) is not None:
            run.known, found = known
            info.rejection = info.rejection or RejectionInfo([], [], CROSSED, len(found))
            info.rejection.likeness = thresholds(found)
        if measure.calibrate:
            run.calibrate()
            assert info.calibration is not None
            emit(message(calibration_line(info.calibration)))
    finally:
        log.close()
    if folder is not None:
        # its log is there already, unless it is to replace that of another run
        run.folder = folder if log.complete and not (folder / INFO).exists() else None
        run.save(folder)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return run


def checkpoints_in(
    folder: Path | None, settings: str, options: TrainOptions, resume: bool, emit: OnRecord
) -> Checkpoints | None:
    """What keeps a training's state in its run folder; None for a run in memory. resume: go on from what is there."""
    if folder is None:
        return None
    keeper = Checkpoints(
        folder, settings, every=options.save_seconds, on_trouble=lambda text: emit(message(text))
    )
    if not resume:
        keeper.clear()
    return keeper


def both(*receivers: OnRecord | None) -> OnRecord:
    """One receiver that passes records on to all."""
    own = [r for r in receivers if r is not None]

    def emit(record: dict[str, Any]) -> None:
        for receiver in own:
            receiver(record)

    return emit
