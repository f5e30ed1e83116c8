"""What all commands share: where they print, and the two global switches."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlprompt.plain_text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vlprompt.report.comparison import Sheet


@dataclass
class Switches:
    """debug: show the trace of an error. quiet: no progress, only results and errors."""

    debug: bool = False
    quiet: bool = False


switches = Switches()


def out() -> Console:
    """Results: stdout."""
    from vlprompt.plain_text import rich_console

    wide = None if sys.stdout.isatty() else 120  # a file or a pipe gets whole lines
    return rich_console(highlight=False, width=wide)


def note(text: str) -> None:
    """A line about what is going on: stderr, unless --quiet."""
    if not switches.quiet:
        print(printable(text), file=sys.stderr, flush=True)


def say(text: str = "") -> None:
    """A line of the result, as it stands: stdout."""
    print(printable(text), flush=True)


def show(table: Table) -> None:
    """A table on stdout; in a file or a pipe as wide as it needs."""
    console = out()
    if not sys.stdout.isatty():
        console.width = max(
            console.width, console.measure(table, options=console.options.update(max_width=400)).maximum
        )
    console.print(table)


def show_sheets(sheets: Iterable[Sheet]) -> None:
    """Result tables on stdout, each with its notes below."""
    from vlprompt.report.sheet_formats import rich_table

    for sheet in sheets:
        show(rich_table(sheet))
        for text in sheet.notes:
            say(f"- {text}")


def progress() -> AbstractContextManager[Any]:
    """`with progress() as receive`: bars on stderr, lines where that is a file or a pipe, None with --quiet; give it to
    `on_record`."""
    if switches.quiet:
        return nullcontext(None)
    if not sys.stderr.isatty():
        from vlprompt.training.progress_lines import ProgressLines

        return ProgressLines()
    from vlprompt.training.progress_bar import ProgressBar

    return ProgressBar()
