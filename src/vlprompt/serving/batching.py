"""Requests that wait together are predicted together.

LitServe's own loop asks its queue again and again while nothing is there, and one failing request fails its batch.
This one sleeps until a request arrives, then waits `batch_timeout` for others, and ends in order: after a SIGTERM
it goes on until nothing is waiting any more.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
from queue import Empty
from typing import Any

from fastapi import HTTPException
from litserve.loops.base import LitLoop
from litserve.utils import LitAPIStatus, LoopResponseType, PickleableHTTPException

from vlprompt.serving.turns import Turns

IDLE = 0.1  # seconds between two looks whether to end
logger = logging.getLogger("litserve")


class _Noteworthy(logging.Filter):
    """Not that LitServe's thread that looks after processes asked one that had ended already, as it may when all end."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, (EOFError, OSError)) and "Monitoring" in record.getMessage())


_NOTEWORTHY = _Noteworthy()


def log_to_stderr() -> None:
    """LitServe writes its log to stdout, which is for what a command gives."""
    for handler in logger.handlers:
        handler.addFilter(_NOTEWORTHY)
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)


class Batching(LitLoop):
    """Gathers requests and lets `lit_api.predict` answer them, one batch per call of `run`."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.turns = turns
        self.stopping = False

    def stop(self, *_: Any) -> None:
        """End when nothing is waiting; a signal handler."""
        self.stopping = True

    def run(
        self,
        lit_api: Any,
        device: str,
        worker_id: int,
        request_queue: Any,
        transport: Any,
        workers_setup_status: Any,
        callback_runner: Any,
    ) -> None:
        try:
            waiting = gather(request_queue, lit_api.max_batch_size, lit_api.batch_timeout)
        except (EOFError, ConnectionError):  # the process that holds the queue has ended
            raise SystemExit(0) from None
        if not waiting:
            parent = multiprocessing.parent_process()
            if self.stopping or (parent is not None and not parent.is_alive()):
                logging.shutdown()
                os._exit(0)  # nothing is left to do, and torch takes its time to end in order
            return
        self.turns.take(worker_id, max(put for _, _, put, _ in waiting))
        now, limit = time.monotonic(), lit_api.request_timeout
        late = [entry for entry in waiting if limit > 0 and now - entry[2] > limit]
        for place, uid, *_ in late:
            error = PickleableHTTPException(504, f"the request waited longer than {limit:g} s")
            self._answer(transport, place, uid, error, LitAPIStatus.ERROR)
        batch = [entry for entry in waiting if entry not in late] if late else waiting
        if batch:
            self._predict(lit_api, transport, batch)

    def _predict(self, lit_api: Any, transport: Any, batch: list[tuple[int, str, float, Any]]) -> None:
        try:
            answers = lit_api.predict([asked for *_, asked in batch])
        except Exception:
            if len(batch) == 1:
                logger.exception("a request could not be predicted")
                error = PickleableHTTPException.from_exception(
                    HTTPException(500, "the prediction failed; the server's log says why")
                )
                for place, uid, *_ in batch:
                    self._answer(transport, place, uid, error, LitAPIStatus.ERROR)
                return
            answers = None
        if answers is None:  # each by itself, so that only the one that fails is refused
            for entry in batch:
                self._predict(lit_api, transport, [entry])
            return
        for (place, uid, *_), answer in zip(batch, answers, strict=True):
            self._answer(transport, place, uid, answer, LitAPIStatus.OK)

    def _answer(self, transport: Any, place: int, uid: str, content: Any, status: str) -> None:
        self.put_response(transport, place, uid, content, status, LoopResponseType.REGULAR)


def gather(queue: Any, size: int, timeout: float) -> list[tuple[int, str, float, Any]]:
    """The next batch: at most `size` requests, the last at most `timeout` seconds after the first; [] if none comes."""
    try:
        found = [queue.get(timeout=IDLE)]
    except Empty:
        return []
    end = time.monotonic() + timeout
    while len(found) < size:
        left = end - time.monotonic()
        try:
            found.append(queue.get(timeout=left) if left > 0 else queue.get_nowait())
        except Empty:
            break
    return found
