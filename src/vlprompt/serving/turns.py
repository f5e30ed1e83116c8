"""What the processes of a server know of each other: which requests have had their turn, and whether one has died.

A process that predicts may hang or die with requests in its hands, and nobody would answer them any more. So the process
that speaks HTTP answers 504 for those that were not taken in time, and 500 for all once a process has died. It ends, too,
when the first process has been killed: else it would go on holding the port.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

from vlprompt.web_guards import refuse

LOOK = 0.25  # seconds between two looks
SLACK = 1.0  # seconds that the process that predicts has to say itself that it was too late


class Turns:
    """Shared by all processes. workers: that predict. helper: the process that holds LitServe's queues, once there is one."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._taken = context.RawArray(
            "d", workers
        )  # each writes its own, so that no lock is left by one that dies
        self._lost = context.RawValue("b", 0)
        self.helper: int | None = None

    def take(self, worker: int, put: float) -> None:
        """All requests up to that time, of time.monotonic(), have been taken from the queue."""
        self._taken[worker] = put

    def had(self, put: float) -> bool:
        return max(self._taken) >= put

    def lose(self) -> None:
        """A process has died, so that the server ends."""
        self._lost.value = 1

    @property
    def lost(self) -> bool:
        return bool(self._lost.value)

    def watch(self) -> None:
        """In the process that speaks HTTP: ends it in order once the first process is gone."""
        parent = multiprocessing.parent_process()
        if parent is not None:
            threading.Thread(target=self._outlive, args=[parent], daemon=True).start()

    def _outlive(self, parent: Any) -> None:
        parent.join()
        self.lose()
        os.kill(os.getpid(), signal.SIGTERM)
        if self.helper is not None:
            time.sleep(2 * LOOK)  # until those that wait are answered
            with suppress(OSError):
                os.kill(
                    self.helper, signal.SIGKILL
                )  # it ignores SIGTERM, and never looks whether it is needed


class Waiting:
    """ASGI middleware: answers requests to /predict that nobody else will.

    An answer of the application that comes later is dropped; until then the request counts as under way, so that those that
    wait for a process that hangs are bounded.
    """

    def __init__(self, app: Any, turns: Turns, timeout: float) -> None:
        self.app, self.turns, self.timeout = app, turns, timeout
        self._left: set[asyncio.Future[None]] = set()  # that were answered here

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/predict":
            await self.app(scope, receive, send)
            return
        begun = over = False

        async def first(message: Any) -> None:
            nonlocal begun
            begun = True
            if not over:
                await send(message)

        own = asyncio.ensure_future(self.app(scope, receive, first))
        try:
            while not (await asyncio.wait({own}, timeout=LOOK))[0]:
                refused = None if begun else self._refused(scope.get("state", {}).get(READ))
                if refused is not None:
                    over = True
                    self._left.add(own)
                    own.add_done_callback(self._forget)
                    await refuse(send, *refused)
                    return
            await own
        except asyncio.CancelledError:  # the server ends
            own.cancel()
            raise

    def _refused(self, read: float | None) -> tuple[int, str] | None:
        if read is None:  # still on its way
            return None
        if self.turns.lost:
            return 500, "a process of the server has died, so the server stops"
        if time.monotonic() - read > self.timeout + SLACK and not self.turns.had(read):
            return 504, f"the request waited longer than {self.timeout:g} s"
        return None

    def _forget(self, own: asyncio.Future[None]) -> None:
        self._left.discard(own)
        if not own.cancelled():
            own.exception()  # nobody is there to be told


READ = "vlprompt_read"  # in a request's state: when it was read and decoded, of time.monotonic()
