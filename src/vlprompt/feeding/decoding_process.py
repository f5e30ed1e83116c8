"""The process that decodes pictures of strangers: reads jobs, answers each, and ends with the one who started it.

A job is two lengths, a head in JSON and the bytes of a picture; an answer is a letter, a length and bytes. The head
says what is wanted: "check" (the picture is whole), or "crop" with the preprocessing that cuts it. Started by
`vlprompt.feeding.decoders`, which ends it when a picture takes too long.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import warnings
from typing import IO, Any

LENGTHS, ANSWER = struct.Struct(">II"), struct.Struct(">cI")
READY, DONE, REFUSED, TOO_LARGE = b"r", b"d", b"e", b"l"
MEMORY = 6 * 2**30  # bytes of addresses: a picture of 89 million values in 16 bits takes three in between


def main() -> None:
    """Answers jobs from standard input until it is closed."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    _limit()
    warnings.simplefilter("ignore")
    warm_up()
    _send(answers, READY, b"")
    jobs = sys.stdin.buffer
    while len(lengths := jobs.read(LENGTHS.size)) == LENGTHS.size:
        head, size = LENGTHS.unpack(lengths)
        job = json.loads(jobs.read(head))
        if hasattr(signal, "alarm"):  # if the one who waits has died, nobody else ends this one
            signal.alarm(int(job["seconds"]) + 10)
        _send(answers, *answer(job, jobs.read(size)))
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def warm_up() -> None:
    """Imports and sets up all that a job needs, whose time else counted as that of the first picture."""
    import io
    from dataclasses import asdict

    from PIL import Image

    from vlprompt.backbones.preprocessing import Preprocessing

    for kind in ("PNG", "JPEG"):
        out = io.BytesIO()
        Image.new("RGB", (9, 9)).save(out, kind)
        job = {"name": "", "most_pixels": 100, "wanted": "crop", "preprocessing": asdict(Preprocessing())}
        assert answer(job, out.getvalue())[0] == DONE


def answer(job: dict[str, Any], data: bytes) -> tuple[bytes, bytes]:
    """What is said to one job."""
    import numpy as np

    from vlprompt.backbones.preprocessing import Preprocessing
    from vlprompt.data.pictures import TooManyPixels, open_picture
    from vlprompt.errors import PictureError

    try:
        picture = open_picture(data, name=job["name"], most_pixels=job["most_pixels"])
        if job["wanted"] == "check":
            return DONE, b""
        return DONE, np.asarray(Preprocessing(**job["preprocessing"]).crop(picture)).tobytes()
    except PictureError as error:
        return TOO_LARGE if isinstance(error, TooManyPixels) else REFUSED, str(error).encode(
            errors="replace"
        )[:2000]
    except MemoryError:
        return REFUSED, f"{job['name']}: takes too much memory".encode(errors="replace")


def _send(answers: IO[bytes], kind: bytes, content: bytes) -> None:
    answers.write(ANSWER.pack(kind, len(content)) + content)
    answers.flush()


def _limit() -> None:
    """No more memory than any picture takes, no files of the last moment; Ctrl-C is for the one who started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard < 0 else min(MEMORY, hard), hard))
