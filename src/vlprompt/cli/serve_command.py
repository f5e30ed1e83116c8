"""vlprompt serve: a run behind HTTP."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note
from vlprompt.cli.flags import Panel
from vlprompt.options import build
from vlprompt.serving.serve_options import ServeOptions

PANELS = (Panel("Server", ServeOptions, "options"),)


def serve(
    run: shared.RunFolder,
    backbone: shared.Moved = None,
    device: shared.Device = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            rich_help_panel=shared.WHERE,
            metavar="float32|bf16|fp16",
            show_default=False,
            help="of the frozen towers, if not that of the run",
        ),
    ] = None,
    options: dict[str, Any] | None = None,
) -> None:
    """Answers HTTP requests: which class is on this picture?

    POST /predict takes a picture as a form's file, as the body itself, or as
    base64 in JSON; several at once in a form or in JSON. GET /docs says more, as
    do /health, /info and /metrics. Ctrl-C or SIGTERM stop it once the requests
    under way are answered.

    \b
    vlprompt serve runs/x
    vlprompt serve runs/x --port 9000 --max-batch-size 64 --batch-timeout 0.02
    curl --data-binary @cat.jpg 'http://127.0.0.1:8000/predict?top=3'
    """
    chosen = build(ServeOptions, options or {}, owner="serve")
    note("loading torch and the backbone")
    from vlprompt.serving.server import serve as start

    start(
        run,
        chosen,
        backbone=backbone,
        device=device,
        precision=precision,
        on_ready=lambda where: note(f"{run} answers at {where}/predict; Ctrl-C stops it"),
    )
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)  # everything has ended in order; torch would take some seconds more to be taken down
