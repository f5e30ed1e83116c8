"""The folder a run is to be written to: whether it holds this very run already, and the log that goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.dataset import Dataset, Item
from vlprompt.errors import DataError, RunError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import file_hashes
from vlprompt.runs.info import INFO, RunInfo, read_info
from vlprompt.runs.records import LOG, LOG_BEGUN, read_log
from vlprompt.runs.run import Run
from vlprompt.training.checkpoints import FILE as CHECKPOINT
from vlprompt.training.checkpoints import read as read_checkpoint
from vlprompt.training.run_log import RunLog, was_done

CHANGED = "the pictures in the files have changed since"


def contents_of(dataset: Dataset, items: Sequence[Item], cache: FeatureCache) -> str:
    """A hash of the bytes of pictures, in any order; one that cannot be read counts as that."""
    found = []
    for item, content in zip(items, file_hashes(cache, dataset, items), strict=True):
        found.append(f"{content if isinstance(content, str) else 'unreadable'} {item.path}")
    text = "\n".join(sorted(set(found)))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def check_still_there(
    dataset: Dataset,
    items: Sequence[Item],
    cache: FeatureCache,
    contents: str | None,
    skipped: Sequence[tuple[str, str]],
) -> None:
    """DataError if pictures were skipped because they have gone since, as with a drive that is no longer there.

    A picture that is broken is one all the time. contents: what `contents_of` gave at the beginning.
    """
    if skipped and contents_of(dataset, items, cache) != contents:
        path, reason = skipped[0]
        told = reason if path in reason else f"{path}: {reason}"
        raise DataError(
            f"{dataset.name}: pictures have gone or changed while they were learned, for example {told}; once they are "
            "there again the same command goes on"
        )


def checkpoint_key(info: RunInfo) -> str:
    """What a checkpoint has to be of, so that its run goes on from it: the same settings and the same pictures."""
    return f"{info.settings}+{info.data.contents}"


def finished(
    folder: Path | None, info: RunInfo, backbone: Backbone, resume: bool, overwrite: bool
) -> Run | None:
    """The run that the folder holds, if it is this one; RunError if it holds another."""
    if folder is None or overwrite:
        return None
    mend = "choose another folder or overwrite it (--overwrite)"
    if (folder / INFO).exists():
        if not resume:
            raise RunError(f"{folder}: holds a finished run: {mend}")
        done = read_info(folder)
        if done.settings != info.settings:
            raise RunError(f"{folder}: holds a finished run {differences(done, info)}: {mend}")
        if done.data.contents not in (None, info.data.contents):  # older runs do not say
            raise RunError(f"{folder}: holds a finished run, but {CHANGED}: {mend}")
        run = Run.load(folder, backbone)
        with suppress(OSError):  # a folder that may only be read
            for name in (CHECKPOINT, LOG_BEGUN):  # left by a crash behind the last write
                (folder / name).unlink(missing_ok=True)
        return run
    held = read_checkpoint(folder / CHECKPOINT)
    settings, _, contents = held[1].partition("+") if held is not None else ("", "", "")
    if (
        held is not None
        and resume
        and settings == info.settings
        and held[1] != checkpoint_key(info)
        and contents
    ):
        raise RunError(f"{folder}: holds an interrupted run, but {CHANGED}: {mend}")
    if held is not None and resume and held[1] != checkpoint_key(info):
        raise RunError(f"{folder}: holds an interrupted run with other settings: {mend}")
    return None


def differences(done: RunInfo, info: RunInfo) -> str:
    """What a run that is there was learned with, where it differs from what is asked for now, in words."""
    found = []
    before, now = done.data, info.data
    new = [name for name in info.class_names if name not in done.class_names]
    gone = [name for name in done.class_names if name not in info.class_names]
    if (before.origin or {}).get("path") != (now.origin or {}).get("path"):
        found.append(f"of other pictures ({(before.origin or {}).get('path', before.name)})")
    elif new or gone:
        words = [f"{len(new)} new ({', '.join(new[:3])})"] if new else []
        words += [f"{len(gone)} gone ({', '.join(gone[:3])})"] if gone else []
        found.append(f"of other classes: {', '.join(words)}; vlprompt teach adds to what it learned")
    elif before.fingerprint != now.fingerprint and done.shots == info.shots:
        counts = f"{before.train} then, {now.train} now to learn from"
        found.append(f"of pictures that have changed since ({counts}); learn them with --overwrite")
    chosen = "auto" if done.choice is not None else done.method
    if chosen != info.method:
        found.append(f"of method {chosen}, not {info.method}")
    for name in ("shots", "seed"):
        if getattr(done, name) != getattr(info, name):
            found.append(f"with {name} {getattr(done, name)}, not {getattr(info, name)}")
    if done.backbone.fingerprint != info.backbone.fingerprint:
        found.append(f"on another backbone ({done.backbone.source})")
    if done.choice is None and done.options != info.options:
        names = sorted(
            k for k in {*done.options, *info.options} if done.options.get(k) != info.options.get(k)
        )
        found.append(f"with other options ({', '.join(names)})")
    if done.choice is None and done.train != info.train:
        names = sorted(
            k
            for k in {*(done.train or {}), *(info.train or {})}
            if (done.train or {}).get(k) != (info.train or {}).get(k)
        )
        found.append(f"with other training settings ({', '.join(names)})")
    return "with other settings" if not found else f"with other settings, {', '.join(found)}"


def open_log(folder: Path | None, settings: str, resume: bool) -> RunLog:
    """The log of a run; of an interrupted one that goes on, what was logged up to its checkpoint is kept.

    A finished run in the folder keeps its own until it is replaced: it counts until then.
    """
    if folder is None:
        return RunLog()
    place = folder / (LOG_BEGUN if (folder / INFO).exists() else LOG)
    held = read_checkpoint(folder / CHECKPOINT) if resume else None
    old = read_log(place) if held is not None and held[1] == settings else []
    try:
        return RunLog(place, [r for r in old if held is not None and was_done(r, held[0])])
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{folder}: cannot be written ({reason}): choose another folder (--out)") from error
