"""The log of a run: one JSON record per line, written as it happens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vlprompt.files import write_atomically
from vlprompt.training.checkpoints import State

ESCAPED = "backslashreplace"  # of names of files that are no UTF-8: what JSON writes for them
MOST_STEPS = 200  # lines for single steps; epochs are all kept


class RunLog:
    """Keeps records in memory and, with a file, on disk; a callable for the loop's records.

    Progress of encoding is left out, and of many steps every n-th is kept. old: records of an
    interrupted run that this one goes on from. complete: whether the file holds all of them.
    """

    def __init__(self, path: Path | None = None, old: Sequence[dict[str, Any]] = ()) -> None:
        self.records: list[dict[str, Any]] = list(old)
        self._file = None
        self._every = 1
        self.complete = path is not None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, "".join(map(_line, old)).encode(errors=ESCAPED))
            self._file = open(path, "a", encoding="utf-8", errors=ESCAPED)  # noqa: SIM115 (closed by close)

    def __call__(self, record: dict[str, Any]) -> None:
        event = record["event"]
        if event == "training":
            self._every = -(-record["epochs"] * record["steps"] // MOST_STEPS)
        if event == "encoding" or (event == "step" and record["step"] % self._every):
            return
        self.records.append(record)
        if self._file is not None:
            try:
                self._file.write(_line(record))
                self._file.flush()
            except OSError:  # a full disk: the records stay in memory, the run goes on
                self.complete = False
                self.close()

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what could not be written is tried once more
                self._file.close()
            self._file = None


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def was_done(record: dict[str, Any], state: State) -> bool:
    """Whether what a record tells of need not be done again when training goes on from a checkpoint."""
    event, done = record.get("event"), (state.epoch, state.step)
    if event not in ("step", "epoch"):
        return event != "training"
    epoch, step = record.get("epoch"), record.get("step", 0)
    if not isinstance(epoch, int) or not isinstance(step, int):
        return False  # a damaged line
    return (epoch - 1, step) <= done if event == "step" else epoch <= state.epoch
