"""vlprompt sort: pictures into a folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.collection_arguments import pictures
from vlprompt.cli.console import note, say
from vlprompt.cli.error_reporting import Stop, fail


def sort(
    run: shared.RunFolder,
    images: shared.Images,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="a new folder for the classes")],
    coverage: Annotated[
        float,
        typer.Option("--coverage", metavar="X", help="share of known pictures that get an answer; 1: all do"),
    ] = 0.95,
    link: Annotated[bool, typer.Option("--link", help="make links instead of copies")] = False,
    backbone: shared.Moved = None,
    device: shared.Device = "auto",
) -> None:
    """Copy or link pictures into a folder for each class.

    Those that the run is not sure of lie apart, in DIR/unsure. The pictures
    themselves stay where they are.

    \b
    vlprompt sort runs/x camera/ --out sorted/
    vlprompt sort runs/x camera/ --out sorted/ --link --coverage 0.8
    """
    from vlprompt.errors import OptionError

    if not 0 < coverage <= 1:
        raise OptionError(f"--coverage is {coverage:g}: expected more than 0 and at most 1, such as 0.95")
    paths = pictures(images)
    note(f"{len(paths)} pictures; loading torch and the backbone")
    from vlprompt.collections.sorting import sort as sort_all
    from vlprompt.runs.run import Run

    found = sort_all(
        Run.load(run, backbone, device=device),
        paths,
        out,
        coverage=coverage if coverage < 1 else None,
        link=link,
        on_progress=lambda done, total: note(f"{done} of {total} pictures"),
    )
    for name, count in sorted(found.counts.items()):
        say(f"{count:6d}  {out / name}")
    for path, reason in found.unreadable:
        fail(reason if path in reason else f"{path}: {reason}")
    if found.unreadable and not found.counts:
        raise Stop(1)
