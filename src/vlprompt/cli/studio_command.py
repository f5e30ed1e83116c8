"""vlprompt studio: teaching in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlprompt.cli import completion as completing
from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, say


def studio(
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            "-p",
            min=0,
            max=65535,
            show_default=False,
            help="of the page; 0: any; the first free one from 7860 on if not given",
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            "-b",
            metavar="NAME",
            show_default=False,
            autocompletion=completing.backbone,
            help="a backbone that the page offers, embedded if none is given; may be given again",
        ),
    ] = None,
    allow_folder: Annotated[
        list[Path] | None,
        typer.Option(
            "--allow-folder",
            metavar="DIR",
            show_default=False,
            help="a folder that the page may read pictures from; may be given again. Without it, pictures are dropped",
        ),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            "--runs",
            metavar="DIR",
            help="where the page keeps runs when that is asked for, and opens them again, also after a restart",
        ),
    ] = Path("runs"),
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="open the page in the browser")
    ] = True,
    device: shared.Device = "auto",
    precision: shared.Precision = "float32",
) -> None:
    """A page in the browser: make classes, drop pictures on them, learn, try.

    For this machine alone: nothing is loaded from elsewhere, nothing is sent
    there, and what was dropped is removed when the tab is closed.

    \b
    vlprompt studio
    vlprompt studio --allow-folder ~/photos --backbone embedded --backbone ViT-B/16
    """
    from vlprompt.studio.web_server import require

    require()
    note("loading torch and Gradio")
    from vlprompt.studio.offered_backbones import Backbones
    from vlprompt.studio.web_server import serve
    from vlprompt.studio.workshop import Studio

    held = Studio(
        Backbones(backbone or ["embedded"], device, precision), allowed=allow_folder or [], runs=runs
    )

    def ready(address: str) -> None:
        say(f"studio: {address}   (Ctrl-C ends it)")
        if open_browser:
            import threading
            import webbrowser

            threading.Timer(1.0, webbrowser.open, [address]).start()

    serve(held, port, ready)
