"""vlprompt demo: all methods on the pictures that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, say, show, switches
from vlprompt.cli.suggestions import Blank, pasted


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="where everything goes")] = Path(
        "demo"
    ),
    backbone: shared.Backbone = "embedded",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            show_default=False,
            help="processes of one thread; as many as there are cores if not given",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="float32|bf16",
            show_default=False,
            help="of the frozen towers; bf16 where the processor has units for it if not given",
        ),
    ] = None,
) -> None:
    """Zero-shot, CoOp, CoCoOp, MaPLe and LAMM on photographs of groceries, offline, in minutes.

    Prints a table of accuracies and writes a report page, figures, records and
    run folders. Takes under three minutes on two CPU cores.

    \b
    vlprompt demo
    vlprompt demo --out runs/demo
    """
    note("loading torch and the backbone")
    from vlprompt.demo import run_demo
    from vlprompt.demo.summary import demo_table, lines_of, verdicts

    found = run_demo(out, backbone, quiet=switches.quiet, workers=workers, precision=precision)
    records, titles, order = found["records"], found["titles"], found["order"]
    told = {key: found[key] for key in ("shots", "seconds", "workers", "precision")}
    show(demo_table(records, titles, order, **told))
    for text in verdicts(lines_of(records, titles, order)):
        say(text)
    say(f"report: {found['page']}")
    say(f"next: {pasted('predict', out / 'runs' / 'coop+lamm-seed1', Blank('PICTURE...'))}")
