"""vlprompt sweep: a grid of runs into one results file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, say, show_sheets, switches
from vlprompt.cli.error_reporting import Stop, fail


def sweep(
    grid: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="the grid, a TOML file")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            show_default=False,
            help="results, JSON lines, instead of the file that the grid names (results.jsonl if it names none)",
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="runs at a time on this machine, each a process")
    ] = 1,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="do failed runs again")] = False,
    root: shared.Root = None,
    ray: shared.Ray = None,
    cpus: shared.Cpus = 1,
    gpus: shared.Gpus = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="list the runs and what is known of them")
    ] = False,
) -> None:
    """Run a grid: methods x data sets x shots x seeds x protocols.

    A line per run is appended to the results. Runs that are there are not
    done again, so an interrupted sweep goes on when it is started again, and
    two sweeps may share a file. A failed run is recorded with its error and
    does not stop the others. Features in common are computed once.

    \b
    vlprompt sweep grid.toml
    vlprompt sweep grid.toml --jobs 4
    vlprompt sweep grid.toml --ray auto --gpus 0.5
    vlprompt table results.jsonl
    """
    note(f"reading {grid}")
    from vlprompt.report.comparison import compare
    from vlprompt.sweeps.display import Display
    from vlprompt.sweeps.ledger import Ledger
    from vlprompt.sweeps.sweep import check_here
    from vlprompt.sweeps.sweep import sweep as run_sweep
    from vlprompt.sweeps.sweep_file import read_sweep

    held = read_sweep(grid, root)
    path = out or held.out
    for text in held.left_out:
        note(text)
    if dry_run:
        with Ledger(path) as ledger:
            kept = ledger.done if retry_failed else ledger.done | ledger.failed
            check_here((cell for cell in held.cells if cell.key not in kept), elsewhere=ray is not None)
            for cell in held.cells:
                state = (
                    "done" if cell.key in ledger.done else "failed" if cell.key in ledger.failed else "to do"
                )
                say(f"{state:7}{cell.title}")
        return
    with Display(held.cells, quiet=switches.quiet) as tell:
        found = run_sweep(
            held, out=path, jobs=jobs, retry_failed=retry_failed, ray=ray, cpus=cpus, gpus=gpus, tell=tell
        )
    if found.records:
        show_sheets(compare(found.records))
    others = f", {found.elsewhere} by another sweep" if found.elsewhere else ""
    hint = " (--retry-failed tries these again)" if found.failed else ""
    say(
        f"{len(held.cells)} runs: {found.now} done now, {found.before} before{others}, {len(found.failed)} failed{hint}"
    )
    say(f"records: {path}")
    for cell, error in found.failed.items():
        if cell in found.earlier:
            error = f"failed in an earlier sweep: {error}; --retry-failed tries again"
        fail(f"{cell.title}: {error}")
    if found.failed:
        raise Stop(1)
