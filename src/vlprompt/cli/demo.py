"""vlprompt demo: all methods on the pictures that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlprompt.cli import shared
from vlprompt.cli.console import say, show


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="where everything goes")] = Path("demo"),
    backbone: shared.Backbone = "embedded",
) -> None:
    """Zero-shot, CoOp, CoCoOp, MaPLe and LAMM on emoji, in three minutes on two CPU cores, without the internet.

    \b
    vlprompt demo
    """
    from vlprompt.demo import run_demo

    table, page = run_demo(out, backbone)
    show(table)
    say(f"report: {page}")
