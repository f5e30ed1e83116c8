"""Ledger: which runs of a grid are done, and which some sweep is working on.

    results.jsonl            a line per run
    results.jsonl.claims/    `lock`, held while any of this changes, and a file per sweep at work: it holds the
                             keys of its runs and is locked by its process for as long as that lives

So two sweeps on one results file never do the same run, and what a killed sweep had claimed is free at once.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vlprompt.errors import DataError
from vlprompt.files import check_regular, parse_json
from vlprompt.locks import open_locked
from vlprompt.runs.records import MOST_RECORDS, append, wrong_value
from vlprompt.sweeps.grid_cells import Cell


class Ledger:
    """`with Ledger(path) as ledger`: claims are given up at the end.

    done: records by key. failed: lines of failed runs by key, if no later line has a result.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.with_name(path.name + ".claims")
        self.done: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, dict[str, Any]] = {}
        self.claimed: dict[str, None] = {}
        self.tried: set[str] = set()  # by this sweep
        self._read = 0  # bytes of the results file that are known
        self._own: int | None = None
        self._file = self.folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Ledger:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._own = open_locked(self._file, wait=True)
                self._refresh()
        except OSError as error:
            raise DataError(
                f"{self.path}: no results can be written there ({error.strerror or error})"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        with self._locked():
            if self._own is not None:
                os.close(self._own)
            with suppress(OSError):
                self._file.unlink()

    def claim(self, cells: Iterable[Cell], *, retry: bool = False) -> Cell | None:
        """The first run that is neither done nor claimed; now it is claimed. retry: failed ones too, once."""
        with self._locked():
            self._refresh()
            taken = self._taken()
            for cell in cells:
                free = not any(cell.key in held for held in (self.done, taken, self.tried))
                if free and (retry or cell.key not in self.failed):
                    self.claimed[cell.key] = None
                    self.tried.add(cell.key)
                    self._write()
                    return cell
        return None

    def refresh(self) -> None:
        """Learns what other sweeps have finished."""
        with self._locked():
            self._refresh()

    def finish(self, cell: Cell, record: dict[str, Any]) -> None:
        """Writes a result and gives up the claim."""
        self._add({**record, "key": cell.key}, cell.key)

    def fail(self, cell: Cell, error: str) -> None:
        """Writes what went wrong with a run; such lines are no results for `records.read`."""
        self._add({"event": "failed", "key": cell.key, "run": cell.about, "error": error}, cell.key)

    def _add(self, line: dict[str, Any], key: str) -> None:
        with self._locked():
            self._refresh()
            if key not in self.done:
                append(self.path, line)
            self._refresh()
            self.claimed.pop(key, None)
            self._write()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        file = open_locked(self.folder / "lock", wait=True)
        assert file is not None
        try:
            yield
        finally:
            os.close(file)

    def _refresh(self) -> None:
        """Reads whole lines that were added to the results."""
        try:
            check_regular(self.path, MOST_RECORDS)
            with open(self.path, "rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for text in whole.splitlines():
            try:
                line = parse_json(text)
                key = line["key"]
            except (ValueError, KeyError, TypeError):
                continue  # cut off by a crash, or written by another command
            told = line.get("error", "")
            if not isinstance(key, str) or not isinstance(told, str) or wrong_value(line) is not None:
                continue  # of no sweep
            if "error" in line:
                self.failed[key] = line
            else:
                self.done[key] = line
                self.failed.pop(key, None)

    def _taken(self) -> set[str]:
        """Keys that other living sweeps have claimed; files of dead ones are removed."""
        found: set[str] = set()
        for path in self.folder.iterdir():
            if path.name == "lock" or path == self._file:
                continue
            file = open_locked(path, wait=False)
            if file is None:
                found.update(path.read_text(encoding="utf-8").split())
                continue
            os.close(file)
            with suppress(OSError):
                path.unlink()
        return found

    def _write(self) -> None:
        assert self._own is not None
        data = "".join(f"{key}\n" for key in self.claimed).encode()
        os.ftruncate(self._own, 0)
        os.lseek(self._own, 0, os.SEEK_SET)
        os.write(self._own, data)
