"""Errors on the command line: one line on stderr and an exit code; the trace only with --debug."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vlprompt.cli.console import switches
from vlprompt.errors import VlpromptError

INTERRUPTED = 130  # what shells report for a process that was stopped with Ctrl-C
_REASONS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EACCES: "permission denied",
    errno.EROFS: "the file system is read-only",
}


class Stop(Exception):
    """Ends the command with an exit code; everything has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def guarded(*, resumable: bool = False) -> Iterator[None]:
    """Turns whatever goes wrong inside into one line and a Stop.

    resumable: the command goes on where it was interrupted when it is given again.
    """
    try:
        yield
    except KeyboardInterrupt:
        hint = ": the same command goes on from the last checkpoint" if resumable else ""
        fail(f"interrupted{hint}")
        raise Stop(INTERRUPTED) from None
    except Stop:
        raise
    except Exception as error:
        code, text = explain(error)
        if switches.debug:
            import traceback

            traceback.print_exc()
        if text:
            fail(text)
        raise Stop(code) from None


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and the one line for an error."""
    if isinstance(error, VlpromptError):
        return error.exit_code, one_line(str(error))
    if isinstance(error, BrokenPipeError):  # `vlprompt methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1, ""
    if isinstance(error, OSError):
        what = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        return 1, one_line(f"{where}{what}")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return 1, "out of memory: try a smaller --batch, --accumulate 2 or more, or a smaller --memory"
    kind = type(error).__name__
    return 1, one_line(f"unexpected {kind}: {error} (this is a mistake in vlprompt; --debug shows where)")


def one_line(text: str) -> str:
    return " ".join(text.split())


def fail(text: str) -> None:
    print(f"vlprompt: {text}", file=sys.stderr, flush=True)


def usage_line(error: Any, command: str = "") -> str:
    """The line for a mistake in the arguments that the parser found."""
    text = one_line(str(error.format_message())).rstrip(".")
    return f"{text[:1].lower()}{text[1:]} (see vlprompt {command + ' ' if command else ''}--help)"
