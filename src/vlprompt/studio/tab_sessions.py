"""Sessions: what one open tab holds, in a folder that only this session uses and that goes when it ends."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vlprompt.errors import DataError, PictureError
from vlprompt.studio.limits import MB, Limits
from vlprompt.studio.trainings import Job, Trainings

if TYPE_CHECKING:
    from vlprompt.feeding.decoders import Decoders
    from vlprompt.runs.run import Run

PICTURES = "pictures"
OPENED = 24  # pictures of a class that are shown at once where it is corrected
LEAF = 16  # classes whose cards are on the page at once: each takes its time to draw
MOST_REMEMBERED = 10_000  # sessions that have ended; pages that are left open ask for them again


@dataclass(eq=False)
class Shown:
    """A class as the page shows it. number: its place in the session's folder. pictures: inside that folder,
    with `/`."""

    name: str
    number: int
    pictures: list[str] = field(default_factory=list)


class Session:
    """One open tab. Every method may be called from any thread.

    run: what was learned last. studied: the pictures that it was trained on; the others can test it.
    tried: the pictures last asked about. token: what its download link is known by.
    leaf: which LEAF classes the page shows the cards of, from 0. opened: the number of the class whose pictures are shown to be
    corrected, and from which of them on; None for none. used: when it was last asked for.
    """

    def __init__(self, key: str, folder: Path, limits: Limits, decoders: Decoders | None = None) -> None:
        self.key, self.folder, self.limits, self.decoders = key, folder, limits, decoders
        self.used = time.monotonic()
        self.token = secrets.token_urlsafe(32)
        self.classes: list[Shown] = []
        self.studied: set[str] = set()
        self.tried: list[tuple[str, Path]] = []
        self.run: Run | None = None
        self.backbone = ""  # by name, of the run
        self.job: Job | None = None
        self.leaf = 0
        self.opened: tuple[int, int] | None = None
        self.closed = False
        self.lock = threading.RLock()
        self._count = self._bytes = 0
        self.folder.mkdir(mode=0o700)
        (self.folder / PICTURES).mkdir()

    # -- classes and pictures ----------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(shown.name for shown in self.classes)

    def add_class(self, name: str) -> Shown:
        """A new class; DataError for a name that is taken or none."""
        words = self.limits.check_name(name)
        with self.lock:
            self._open()
            if words.casefold() in (known.casefold() for known in self.names):
                raise DataError(f'there is a class "{words}" already')
            if len(self.classes) >= self.limits.classes:
                raise DataError(f"there are {len(self.classes)} classes, and more are not taken")
            self._count += 1
            shown = Shown(words, self._count)
            self.classes.append(shown)
            return shown

    @property
    def last_leaf(self) -> int:
        return max(0, len(self.classes) - 1) // LEAF

    def turn(self, leaves: int) -> None:
        """Forward or back, not beyond the first and the last."""
        self.leaf = min(max(0, self.leaf + leaves), self.last_leaf)

    def on_leaf(self) -> tuple[int, list[Shown]]:
        """The place in the list of the first class that is shown, and those that are."""
        with self.lock:
            self.turn(0)  # classes were removed since
            first = self.leaf * LEAF
            return first, self.classes[first : first + LEAF]

    def find(self, number: int) -> Shown:
        """The class of that number; DataError when it was removed."""
        for shown in self.classes:
            if shown.number == number:
                return shown
        raise DataError("this class is no longer there")

    def remove_class(self, number: int) -> None:
        """The class and its pictures."""
        with self.lock:
            shown = self.find(number)
            self.remove_pictures(number, shown.pictures)
            self.classes.remove(shown)

    def rename_class(self, number: int, name: str) -> None:
        """DataError for a name that another class has, or none."""
        words = self.limits.check_name(name)
        with self.lock:
            shown = self.find(number)
            others = (known.name.casefold() for known in self.classes if known is not shown)
            if words.casefold() in others:
                raise DataError(f'there is a class "{words}" already')
            shown.name = words

    def remove_pictures(self, number: int, pictures: Sequence[str]) -> None:
        """Pictures of a class; those that are no longer there count as removed."""
        with self.lock:
            shown = self.find(number)
            for path in [one for one in shown.pictures if one in set(pictures)]:
                self._bytes -= self.path(path).stat().st_size
                self.path(path).unlink(missing_ok=True)
                shown.pictures.remove(path)
                self.studied.discard(path)

    def move_pictures(self, number: int, pictures: Sequence[str], to: int) -> None:
        """Pictures of a class to another, which they belong to; it has yet to be learned from them."""
        with self.lock:
            shown, other = self.find(number), self.find(to)
            for path in [one for one in shown.pictures if one in set(pictures)]:
                shown.pictures.remove(path)
                other.pictures.append(path)
                self.studied.discard(path)

    def add_pictures(self, shown: Shown, pictures: Sequence[tuple[str, bytes]]) -> list[str]:
        """Takes pictures, given as name and bytes, each verified; says why of those that are refused."""
        refused = []
        for name, data in pictures:
            try:
                self._add_picture(shown, name, data)
            except PictureError as error:
                refused.append(str(error))
        return refused

    def _add_picture(self, shown: Shown, name: str, data: bytes) -> None:
        self.limits.check_picture(data, name, self.decoders)
        with self.lock:
            self._open()
            if sum(len(known.pictures) for known in self.classes) >= self.limits.pictures:
                raise DataError(f"there are {self.limits.pictures} pictures, and more are not taken")
            if self._bytes + len(data) > self.limits.session_bytes:
                raise DataError(
                    f"all pictures together may take {self.limits.session_bytes // MB} MB, which is used up"
                )
            self._count += 1
            path = f"{PICTURES}/{shown.number:05d}/{self._count:06d}"  # names from outside never become paths
            self.path(path).parent.mkdir(exist_ok=True)
            self.path(path).write_bytes(data)
            self._bytes += len(data)
            shown.pictures.append(path)

    def try_pictures(self, pictures: Sequence[tuple[str, bytes]]) -> list[str]:
        """Keeps the pictures that are asked about, in place of those before; says why of those refused."""
        refused, kept = [], []
        for number, (name, data) in enumerate(pictures[: self.limits.tried]):
            try:
                self.limits.check_picture(data, name, self.decoders)
            except PictureError as error:
                refused.append(str(error))
                continue
            path = self.folder / f"tried-{number:02d}"
            with self.lock:
                self._open()
                path.write_bytes(data)
            kept.append((name, path))
        if len(pictures) > self.limits.tried:
            refused.append(f"{self.limits.tried} pictures are looked at in one go; the others were left out")
        if kept:
            self.tried = kept
        return refused

    def path(self, picture: str) -> Path:
        return self.folder / picture

    def new_folder(self, kind: str) -> Path:
        """A folder of the session that does not exist yet."""
        with self.lock:
            self._open()
            self._count += 1
            return self.folder / f"{kind}-{self._count}"

    def _open(self) -> None:
        if self.closed:
            raise gone()


class Sessions:
    """All open tabs. root: where their folders lie. decoders: of the pictures that arrive."""

    def __init__(
        self, root: Path, limits: Limits, trainings: Trainings, decoders: Decoders | None = None
    ) -> None:
        self.root, self.limits, self.trainings, self.decoders = root, limits, trainings, decoders
        self._open: dict[str, Session] = {}
        self._ended: deque[str] = deque(maxlen=MOST_REMEMBERED)
        self._lock = threading.Lock()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get(self, key: str | None) -> Session:
        """The session of a tab, made when it is first asked for. DataError once it has ended.

        When there are too many, the one that holds nothing and was used longest ago makes room.
        """
        over = None
        with self._lock:
            if not key or key in self._ended:
                raise gone()
            if key not in self._open:
                if len(self._open) >= self.limits.sessions:
                    over = self._idle()
                    self._open.pop(over.key)
                    self._ended.append(over.key)
                # the folder's name cannot be guessed from the key, nor the other way round
                folder = self.root / secrets.token_hex(16)
                self._open[key] = Session(key, folder, self.limits, self.decoders)
            session = self._open[key]
            session.used = time.monotonic()
        if over is not None:
            self._close(over)
        return session

    def _idle(self) -> Session:
        held = [one for one in self._open.values() if not one.classes and one.run is None and one.job is None]
        if not held:
            raise DataError(f"the studio is open in {len(self._open)} tabs already: close some of them first")
        return min(held, key=lambda one: one.used)

    def of_token(self, token: str) -> Session | None:
        """The session that a download link belongs to."""
        with self._lock:
            found = [
                s for s in self._open.values() if secrets.compare_digest(s.token.encode(), token.encode())
            ]
        return found[0] if found else None

    def end(self, key: str | None) -> None:
        """Stops the session's training and removes its folder, after the training has let go of it."""
        with self._lock:
            session = self._open.pop(key or "", None)
            if session is None:
                return
            self._ended.append(session.key)
        self._close(session)

    def _close(self, session: Session) -> None:
        with session.lock:
            session.closed = True
        job = self.trainings.stop(session.key)
        if job is None:
            self._remove(session)
        else:
            job.when_over(lambda: self._remove(session))

    def close(self) -> None:
        """Ends all sessions."""
        for key in list(self._open):
            self.end(key)

    def __len__(self) -> int:
        return len(self._open)

    @staticmethod
    def _remove(session: Session) -> None:
        session.run = None
        shutil.rmtree(session.folder, ignore_errors=True)


def gone() -> DataError:
    return DataError("this tab lost touch with the studio, so what it held was removed: reload the page")
