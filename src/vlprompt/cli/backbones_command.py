"""vlprompt backbones: models that can be named, what they cost to load, and what is published of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import say, show

UNITS = "MB: in memory, in float32. Zero-shot: published top-1 accuracy on ImageNet by names, in %; not measured here."


def backbones(
    largest: Annotated[
        int, typer.Option("--largest", min=0, help="only models of at most so many MB; 0: all")
    ] = 0,
    json_: shared.Json = False,
) -> None:
    """Known models for --backbone: family, picture size, megabytes, licence, published zero-shot accuracy.

    \b
    vlprompt backbones
    vlprompt backbones --largest 1000
    Any other model of these families can be named too, by its id on the hub or its folder.
    """
    from vlprompt.backbones.known_backbones import known_backbones

    rows = [one for one in known_backbones() if not largest or one.megabytes <= largest]
    if json_:
        held = [
            asdict(one) | {"megabytes": one.megabytes, "visual_prompts": one.visual_prompts} for one in rows
        ]
        say(json.dumps(held, ensure_ascii=False, indent=1))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, caption=UNITS, caption_justify="left")
    for column in ("backbone", "family", "pixels", "MB", "licence", "zero-shot", ""):
        right = column in ("pixels", "MB", "zero-shot")
        table.add_column(column, justify="right" if right else "left", no_wrap=column == "backbone")
    table.add_row("embedded", "comes with vlprompt", "", "", "Apache-2.0", "", "")
    for one in rows:
        remark = f"needs vlprompt[{one.needs}]" if one.needs else ""
        if not one.visual_prompts:
            remark = "no visual prompts" + (f", {remark}" if remark else "")
        score = "" if one.zero_shot is None else f"{one.zero_shot:.1f}"
        cells = (one.name, one.family, str(one.pixels), str(one.megabytes), one.licence, score, remark)
        table.add_row(*cells)
    show(table)
