"""Ctrl-C during a training: the step under way is finished, and a checkpoint is kept of where it stands."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A training that was stopped and can go on. checkpoint: the file that it goes on from; epoch, step: the next ones,
    from 0."""

    def __init__(self, checkpoint: Path, epoch: int, step: int) -> None:
        super().__init__(f"stopped in epoch {epoch + 1} before step {step + 1}; {checkpoint} is kept")
        self.checkpoint, self.epoch, self.step = checkpoint, epoch, step


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """`with asked_to_stop() as asked`: the first Ctrl-C inside makes `asked()` true; a second one raises
    KeyboardInterrupt at once, as it does outside.

    Where Ctrl-C is not this process's and thread's to handle (another thread, a server, a program that handles it itself),
    nothing is changed and `asked()` stays false.
    """
    asked = threading.Event()
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield asked.is_set
        return

    def first(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        asked.set()
        if (
            sys.stderr is not None and sys.stderr.isatty()
        ):  # straight to the terminal: nothing else is safe in here
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

    signal.signal(signal.SIGINT, first)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
