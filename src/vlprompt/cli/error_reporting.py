"""Errors on the command line: one line on stderr and an exit code; the trace only with --debug."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vlprompt.cli.console import switches
from vlprompt.error_messages import explain, one_line
from vlprompt.plain_text import printable

INTERRUPTED = 130  # what shells report for a process that was stopped with Ctrl-C


class Stop(Exception):
    """Ends the command with an exit code; everything has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def guarded(*, kept: str = "") -> Iterator[None]:
    """Turns whatever goes wrong inside into one line and a Stop.

    kept: what there is of an interrupted command, and what the same command does with it.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        fail(interrupted(stop, kept))
        raise Stop(INTERRUPTED) from None
    except Stop:
        raise
    except Exception as error:
        code, text = told(error)
        if switches.debug:
            import traceback

            traceback.print_exc()
        if text:
            fail(text)
        raise Stop(code) from None


def interrupted(stop: KeyboardInterrupt, kept: str = "") -> str:
    """The line for Ctrl-C: what was done already and what the same command will do."""
    where = getattr(stop, "checkpoint", None)  # of a training that can go on
    if where is None:
        return f"interrupted: {kept}" if kept else "interrupted"
    again = "the same command goes on from it"
    if "--no-resume" in sys.argv:
        again = "the same command without --no-resume goes on from it"
    return f"interrupted: {where} holds where the training stood; {again}"


def told(error: Exception) -> tuple[int, str]:
    """Exit code and the line to print for an error; "" where nobody listens any more."""
    if isinstance(error, BrokenPipeError):  # `vlprompt methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1, ""
    found = explain(error)
    hint = " (this is a mistake in vlprompt; --debug shows where)" if found.mistake else ""
    return found.code, found.text + hint


def fail(text: str) -> None:
    print(f"vlprompt: {printable(text)}", file=sys.stderr, flush=True)


def usage_line(error: Any, command: str = "") -> str:
    """The line for a mistake in the arguments that the parser found."""
    text = one_line(str(error.format_message())).rstrip(".")
    return f"{text[:1].lower()}{text[1:]} (see vlprompt {command + ' ' if command else ''}--help)"
