"""vlprompt report: one page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlprompt.cli import shared
from vlprompt.cli.console import say


def report(
    run: shared.RunFolder,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="FILE", show_default=False, help="report.html in the run's folder if not given",
    )] = None,
) -> None:  # fmt: skip
    """One self-contained HTML page about a run.

    Scores beside zero-shot, learning curves, every class, what is taken for
    what, settings and versions; light and dark.

    \b
    vlprompt report runs/x
    """
    from vlprompt.results.report import write_report

    say(f"report: {write_report(run, out)}")
