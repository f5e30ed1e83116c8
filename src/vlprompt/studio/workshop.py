"""The studio behind the page: sessions, the queue, backbones, and everything temporary in one folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vlprompt.errors import DataError
from vlprompt.feeding.decoders import Decoders
from vlprompt.locks import open_locked
from vlprompt.studio.limits import Limits, confined
from vlprompt.studio.offered_backbones import Backbones
from vlprompt.studio.tab_sessions import Session, Sessions
from vlprompt.studio.trainings import Trainings
from vlprompt.studio.uploads import Uploads

# Files as the page names them: one or many paths, or Gradio's records with "path".
Sent = Any
PREFIX, LOCK = "vlprompt-studio-", "in-use"
MAKING = 60.0  # seconds within which a folder gets its lock, unless whoever makes it is killed in between


class Studio:
    """One running studio. allowed: folders of this machine that the page may read pictures from. runs: the folder in which
    runs are kept when that is asked for, and from which they can be opened again; None: none.

    root: its temporary folder, for the program's user alone; `uploads` in it is where the web server puts what
    arrives, `sessions` where each session keeps its own. All of it is removed by `close`, and what a killed
    studio left by the next one that starts.
    """

    def __init__(
        self,
        backbones: Backbones,
        *,
        allowed: Sequence[Path] = (),
        limits: Limits | None = None,
        runs: Path | None = None,
    ) -> None:
        self.backbones, self.limits = backbones, limits or Limits()
        self.runs = None if runs is None else Path(runs).expanduser().absolute()
        self.allowed = [Path(folder).expanduser().resolve() for folder in allowed]
        for folder in self.allowed:
            if not folder.is_dir():
                raise DataError(f"{folder}: there is no such folder")
        sweep()
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = open_locked(self.root / LOCK, wait=False)
        self.uploads = self.root / "uploads"
        self.uploads.mkdir()
        self.arriving = Uploads(self.uploads, self.limits)
        self.trainings = Trainings(self.limits.waiting)
        self.decoders = Decoders(self.limits.picture_seconds)
        self.sessions = Sessions(self.root / "sessions", self.limits, self.trainings, self.decoders)

    def arrived(self, sent: Sent) -> Path:
        """The one file that the browser has sent; DataError for any other."""
        for path in self.named(sent):
            if path.is_file():
                return path
        raise lost()

    def take(self, sent: Sent) -> list[tuple[str, bytes]]:
        """Name and bytes of files that have arrived; they are removed from where all sessions' files arrive.

        A page may name files again that were taken before: they are left out. DataError when none is left.
        """
        found, paths = [], self.named(sent)
        for path in paths:
            try:
                if path.is_file() and path.stat().st_size <= self.limits.upload_bytes:
                    found.append((path.name, path.read_bytes()))
            except OSError:  # taken by another tab at this moment
                continue
            finally:
                self.discard(path)
        if paths and not found:
            raise lost()
        return found

    def named(self, sent: Sent) -> list[Path]:
        """Where the files lie that a message of the browser names; DataError for any that has not arrived from it."""
        files = sent if isinstance(sent, list) else [sent] if sent else []
        paths = [file.get("path") if isinstance(file, dict) else file for file in files]
        if not all(isinstance(path, str) for path in paths):
            raise lost()
        return [confined(str(path), self.uploads) for path in paths]

    def discard(self, path: Path) -> None:
        """Removes a file that has arrived, and the folder that was made for it."""
        path.unlink(missing_ok=True)
        if path.parent != self.uploads:
            with suppress(OSError):
                path.parent.rmdir()

    def session(self, key: str | None) -> Session:
        return self.sessions.get(key)

    def close(self) -> None:
        """Stops everything and removes what is temporary; may be called again."""
        self.sessions.close()
        self.trainings.close()
        self.decoders.close()
        self.arriving.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        shutil.rmtree(self.root, ignore_errors=True)


def lost() -> DataError:
    return DataError("the file did not arrive whole: drop it again")


def sweep() -> None:
    """Removes the folders of studios that were killed: those of this user that nobody holds any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
                continue
            if not (folder / LOCK).exists() and time.time() - folder.stat().st_mtime < MAKING:
                continue
            held = open_locked(folder / LOCK, wait=False)
            if held is not None:
                os.close(held)
                shutil.rmtree(folder, ignore_errors=True)
