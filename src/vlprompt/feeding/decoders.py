"""Decoders: pictures of strangers are decoded in processes that are ended when one takes too long.

A decoder written in C holds the interpreter, so that a thread cannot be stopped and stops all others. Here a few
processes wait for pictures. One that is at work for longer than PATIENCE no longer counts: it goes on at a lower
priority and another takes its place, so that slow pictures do not keep others waiting; after `seconds` it is ended.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any, cast

import numpy as np

from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.data.pictures import MOST_PIXELS
from vlprompt.errors import PictureError
from vlprompt.feeding.decoding_process import ANSWER, DONE, LENGTHS, READY, REFUSED, TOO_LARGE

SECONDS = 10.0  # that a picture may take; one of 50 million pixels takes one or two
PATIENCE = 0.5  # seconds, beyond which a picture is a slow one
SLOW = 6  # slow pictures at a time; for the next one, the oldest is given up
START = 60.0  # seconds that a process may take to be ready
_CODE = "import sys; sys.path[:] = sys.argv[1:]; from vlprompt.feeding.decoding_process import main; main()"


class TooLarge(PictureError):
    """A picture of more pixels than are permitted."""


class TooSlow(PictureError):
    """A picture that was not decoded in time."""


class Crowded(PictureError):
    """A slow picture that was given up for the sake of others."""


class Decoders:
    """seconds: for one picture. quick: processes that are kept. Can be used from many threads at once."""

    def __init__(self, seconds: float = SECONDS, quick: int | None = None, slow: int = SLOW) -> None:
        self.seconds = seconds
        self.quick = quick or max(2, os.cpu_count() or 1)
        self.slow = slow
        self._idle: list[_Process] = []
        self._busy: list[_Process] = []
        self._changed = threading.Condition()
        self._closed = False
        self._watching: threading.Thread | None = None

    def start(self) -> None:
        """Starts the processes, so that the first pictures need not wait for them."""
        with self._changed:
            self._idle += [_Process() for _ in range(self.quick - len(self._idle) - len(self._busy))]

    def check(self, data: bytes, name: str = "picture", most_pixels: int = MOST_PIXELS) -> None:
        """PictureError unless the bytes are a whole picture; TooSlow, Crowded."""
        self._ask({"wanted": "check", "name": name, "most_pixels": most_pixels}, data)

    def crop(
        self, data: bytes, preprocessing: Preprocessing, name: str = "picture", most_pixels: int = MOST_PIXELS
    ) -> np.ndarray:
        """The picture as the tower takes it, uint8 [S, S, 3]; PictureError, TooSlow, Crowded."""
        job = {
            "wanted": "crop",
            "name": name,
            "most_pixels": most_pixels,
            "preprocessing": asdict(preprocessing),
        }
        size = preprocessing.size
        content = self._ask(job, data)
        if len(content) != 3 * size * size:
            raise PictureError(f"{name}: could not be decoded")
        return np.frombuffer(content, np.uint8).reshape(size, size, 3)

    def close(self) -> None:
        """Ends all processes."""
        with self._changed:
            self._closed = True
            for process in (*self._idle, *self._busy):
                process.end("closed")
            self._idle.clear()
            self._changed.notify_all()

    def _ask(self, job: dict[str, Any], data: bytes) -> bytes:
        name, process = job["name"], self._take()
        try:
            process.wait()
            with self._changed:
                process.began = time.monotonic()
                self._watch()
            kind, content = process.ask(job | {"seconds": self.seconds}, data)
        except (OSError, EOFError, ValueError, struct.error) as error:
            if process.why == "slow":
                raise TooSlow(f"{name}: not decoded in {self.seconds:g} s, so it is given up") from error
            if process.why == "crowded":
                raise Crowded(f"{name}: given up, because too many slow pictures came at once") from error
            process.end("died")
            raise PictureError(f"{name}: could not be decoded (it brought its decoder down)") from error
        finally:
            self._give(process)
        if kind != DONE:
            wrong = TooLarge if kind == TOO_LARGE else PictureError
            raise wrong(content.decode(errors="replace"))
        return content

    def _take(self) -> _Process:
        """A process for one picture: a free one, a new one, or the place of the oldest slow one."""
        with self._changed:
            while not self._closed:
                quick = [process for process in self._busy if not process.slow]
                if len(quick) < self.quick:
                    if len(self._busy) - len(quick) >= self.slow and not self._idle:
                        oldest = min((p for p in self._busy if p.slow), key=lambda process: process.began)
                        oldest.end("crowded")
                        self._busy.remove(oldest)
                    process = self._idle.pop() if self._idle else _Process()
                    process.began = float("inf")
                    self._busy.append(process)
                    self._watch()
                    return process
                self._changed.wait(PATIENCE)
        raise PictureError("no pictures are taken any more: the program is ending")

    def _give(self, process: _Process) -> None:
        with self._changed:
            if process in self._busy:
                self._busy.remove(process)
            if process.why or process.slow or self._closed or len(self._idle) >= self.quick:
                process.end("over")
                missing = self.quick - len(self._idle) - sum(not other.slow for other in self._busy)
                if missing > 0 and not self._closed:  # ready before it is needed
                    self._idle.append(_Process())
            else:
                self._idle.append(process)
            self._changed.notify_all()

    def _watch(self) -> None:
        if self._watching is None:
            self._watching = threading.Thread(target=self._watched, name="vlprompt decoders", daemon=True)
            self._watching.start()
        self._changed.notify_all()

    def _watched(self) -> None:
        """Sets slow pictures back, and ends those that take too long."""
        with self._changed:
            while not self._closed:
                now, soon = time.monotonic(), float("inf")
                for process in self._busy:
                    spent = now - process.began
                    if spent >= self.seconds:
                        process.end("slow")
                        continue
                    if spent >= PATIENCE and not process.slow:
                        process.set_back()
                        self._changed.notify_all()
                    soon = min(soon, (self.seconds if process.slow else min(PATIENCE, self.seconds)) - spent)
                self._changed.wait(max(0.01, soon) if soon < float("inf") else None)


class _Process:
    """began: when its job did; infinity without one. why: the reason that it was ended for."""

    def __init__(self) -> None:
        places = [os.path.abspath(place) for place in sys.path]
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-c", _CODE, *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | threads,
        )
        self._jobs, self._answers = (
            cast("IO[bytes]", self._child.stdin),
            cast("IO[bytes]", self._child.stdout),
        )
        self._ready = False
        self.began = float("inf")
        self.slow = False
        self.why = ""

    def wait(self) -> None:
        """Until it takes jobs; OSError or EOFError if it never will."""
        if self._ready:
            return
        watch = threading.Timer(START, self.end, ["did not start"])
        watch.start()
        try:
            if self._answer() != (READY, b""):
                raise EOFError
        finally:
            watch.cancel()
        self._ready = True

    def ask(self, job: dict[str, Any], data: bytes) -> tuple[bytes, bytes]:
        head = json.dumps(job).encode()
        for part in (LENGTHS.pack(len(head), len(data)), head, data):
            self._jobs.write(part)
        self._jobs.flush()
        found = self._answer()
        if found[0] not in (DONE, REFUSED, TOO_LARGE):
            raise EOFError
        return found

    def _answer(self) -> tuple[bytes, bytes]:
        kind, length = ANSWER.unpack(self._answers.read(ANSWER.size))
        content = self._answers.read(length)
        if len(content) < length:
            raise EOFError
        return kind, content

    def set_back(self) -> None:
        self.slow = True
        with suppress(OSError, AttributeError):  # Windows has no such priorities
            os.setpriority(os.PRIO_PROCESS, self._child.pid, 10)

    def end(self, why: str) -> None:
        """Ends it, whatever it does; may be called again."""
        if self.why:
            return
        self.why = why
        self._child.kill()
        threading.Thread(target=self._gone, daemon=True).start()

    def _gone(self) -> None:
        self._child.wait()
        for pipe in (self._jobs, self._answers):
            with suppress(OSError, ValueError):
                pipe.close()
