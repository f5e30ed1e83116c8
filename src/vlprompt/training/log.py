"""The log of a run: one JSON record per line, written as it happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlprompt.training.checkpoints import write_atomically

MOST_STEPS = 200  # lines for single steps; epochs are all kept


class RunLog:
    """Keeps records in memory and, with a file, on disk; a callable for the loop's records.

    Progress of encoding is left out, and of many steps every n-th is kept. After an interruption the
    lines of steps that will be done again are taken out.
    """

    def __init__(self, path: Path | None = None, old: list[dict[str, Any]] | None = None) -> None:
        self.records: list[dict[str, Any]] = []
        self._file = None
        self._every = 1
        self._old = old or []
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, b"")
            self._file = open(path, "a", encoding="utf-8")

    def __call__(self, record: dict[str, Any]) -> None:
        event = record["event"]
        if event == "training":
            self._every = -(-record["epochs"] * record["steps"] // MOST_STEPS)
        if event in ("encoding", "evaluating") or (event == "step" and record["step"] % self._every):
            return
        if record.get("resumed"):
            for held in self._old:
                if _before(held, record):
                    self._write(held)
        self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        if self._file is not None:
            try:
                self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
                self._file.flush()
            except OSError:  # a full disk: the records stay in memory, the run goes on
                self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _before(record: dict[str, Any], point: dict[str, Any]) -> bool:
    """Whether a step or epoch was done when training goes on behind this epoch and step."""
    if record.get("event") == "step":
        return (record["epoch"], record["step"]) <= (point["epoch"], point["step"])
    return record.get("event") == "epoch" and record["epoch"] < point["epoch"]
