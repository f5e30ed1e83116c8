"""The folder a run is to be written to: whether it holds this very run already, and the log that goes on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vlprompt.backbones.backbone import Backbone
from vlprompt.errors import RunError
from vlprompt.runs.info import INFO, RunInfo, read_info
from vlprompt.runs.records import LOG, read_log
from vlprompt.runs.run import Run
from vlprompt.training.checkpoints import FILE as CHECKPOINT
from vlprompt.training.checkpoints import read as read_checkpoint
from vlprompt.training.run_log import RunLog, was_done


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
        if read_info(folder).settings != info.settings:
            raise RunError(f"{folder}: holds a finished run with other settings: {mend}")
        run = Run.load(folder, backbone)
        with suppress(OSError):  # a folder that may only be read
            (folder / CHECKPOINT).unlink(missing_ok=True)  # left by a crash behind the last write
        return run
    held = read_checkpoint(folder / CHECKPOINT)
    if held is not None and resume and held[1] != info.settings:
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
