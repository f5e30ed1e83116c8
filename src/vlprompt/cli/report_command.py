"""vlprompt report: one page about a run, or about the results of protocols."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlprompt.cli import completion as completing
from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, progress, say
from vlprompt.errors import OptionError

if TYPE_CHECKING:
    from vlprompt.report.what_can_be_shown import Probe


def report(
    what: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|FILE...",
            show_default=False,
            help="folder that fit wrote, or JSON lines that protocol or sweep wrote",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            show_default=False,
            help="report.html in the run's folder, or NAME-report.html beside the results, if not given",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="PATH",
            show_default=False,
            help="where the run's pictures now lie, if they have moved",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="from the run folder alone: no backbone, no pictures, no linear probe"),
    ] = False,
    paper: Annotated[
        str | None,
        typer.Option(
            "--paper",
            "-p",
            metavar="NAME",
            show_default=False,
            autocompletion=completing.paper,
            help="of results: published figures beside ours, as in vlprompt table",
        ),
    ] = None,
    backbone: shared.Moved = None,
    device: shared.Device = "auto",
    no_cache: shared.NoCache = False,
) -> None:
    """One self-contained HTML page, and its figures as PNG and SVG beside it.

    Of a run: accuracy beside zero-shot and a linear probe, what is taken for
    what with pictures, every class, how sure it is and whether it should be,
    what was learned, time, memory, command and versions. What cannot be had any
    more, such as pictures that were moved, is said on the page.

    Of results: tables and figures of each protocol.

    \b
    vlprompt report runs/x
    vlprompt report runs/x --data /mnt/new/place
    vlprompt report results.jsonl --paper maple
    """
    if any(path.is_dir() for path in what) or not all(path.exists() for path in what):
        if len(what) > 1:
            raise OptionError("one run at a time, or files of results")
        _run(what[0], out, data, quick, backbone, device, no_cache)
        return
    if quick or data is not None or backbone is not None:
        raise OptionError("--quick, --data and --backbone belong to the report of a run folder")
    from vlprompt.report.overview import write_overview

    say(f"report: {write_overview(what, out, paper)}")


def _run(
    folder: Path,
    out: Path | None,
    data: str | None,
    quick: bool,
    backbone: str | None,
    device: str,
    no_cache: bool,
) -> None:
    from vlprompt.report.run_report import figures_of, write_report
    from vlprompt.runs.info import read_info

    read_info(folder)  # what is wrong with the folder is said before torch is loaded
    probe: Probe | None = None
    with progress() as receive:
        if not quick:
            note("loading torch and the backbone")
            from functools import partial

            from vlprompt.feeding.feature_cache import FeatureCache
            from vlprompt.fitting.probe_beside import probe_beside

            probe = partial(probe_beside, cache=FeatureCache(False if no_cache else None), emit=receive)
        path = write_report(
            folder, out, data=data, backbone=backbone, device=device, quick=quick, probe=probe
        )
    note(f"figures: {figures_of(path)}")
    say(f"report: {path}")
