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
        code, text = told(error)
        if switches.debug:
            import traceback

            traceback.print_exc()
        if text:
            fail(text)
        raise Stop(code) from None


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
