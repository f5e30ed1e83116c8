"""The folder a run is to be written to: whether it holds this very run already, and the log that goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.dataset import Dataset, Item
from vlprompt.errors import RunError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import file_hashes
from vlprompt.runs.info import INFO, RunInfo, read_info
from vlprompt.runs.records import LOG, read_log
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
            raise RunError(f"{folder}: holds a finished run with other settings: {mend}")
        if done.data.contents not in (None, info.data.contents):  # older runs do not say
            raise RunError(f"{folder}: holds a finished run, but {CHANGED}: {mend}")
        run = Run.load(folder, backbone)
        with suppress(OSError):  # a folder that may only be read
            (folder / CHECKPOINT).unlink(missing_ok=True)  # left by a crash behind the last write
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
