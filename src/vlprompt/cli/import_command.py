"""vlprompt import: checkpoints of the published implementations become run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, say
from vlprompt.errors import OptionError


def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", show_default=False, help="model.pth.tar-N as the published code wrote it"
        ),
    ],
    classes: Annotated[
        Path,
        typer.Option(
            "--classes",
            metavar="FILE",
            show_default=False,
            help="the class names that it was trained with, one a line in label order, or lines of key, tab, name",
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            metavar="NAME",
            show_default=False,
            help="coop, cocoop, vpt, ivlp, maple, lamm, coop+lamm or maple+lamm; what its tensors say if not given",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="run folder to write")] = Path(
        "imported"
    ),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace the run that the folder holds")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="OPTION=VALUE",
            show_default=False,
            help='what no tensor tells, such as name_position=front (coop) or context_init="a photo of a" (ivlp, maple)',
        ),
    ] = None,
    template: Annotated[
        str, typer.Option("--template", "-t", metavar="TEXT", help="the words of vpt and lamm")
    ] = ("a photo of a {}."),
    backbone: shared.Backbone = "ViT-B/16",
    tokenizer: shared.Tokenizer = None,
    device: shared.Device = "auto",
    precision: shared.Precision = "float32",
) -> None:
    """Turn a checkpoint of CoOp, CoCoOp, MaPLe, IVLP, VPT or LAMM into a run folder that predict and eval take.

    Nothing that the file pickles is run; the backbone must be the CLIP that it was trained on.

    \b
    vlprompt import model.pth.tar-5 --method maple --classes names.txt --out runs/maple
    """
    note("loading torch and the backbone")
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.runs.importing import import_checkpoint

    run = import_checkpoint(
        checkpoint,
        method,
        classes,
        BackboneSpec(backbone, device, precision, tokenizer),
        options=options_of(method, set_ or []),
        template=template,
        out=out,
        overwrite=overwrite,
    )
    for text in run.info.notices:
        say(f"note: {text}")
    say(f"{run.info.method}, {len(run.class_names)} classes, {run.info.parameters} learned numbers: {out}")


def options_of(method: str | None, given: list[str]) -> dict[str, Any]:
    """Options from NAME=VALUE, in the types that the methods declare."""
    from dataclasses import fields
    from typing import get_type_hints

    from vlprompt import methods
    from vlprompt.errors import nearest
    from vlprompt.options import parse
    from vlprompt.runs.importing import METHODS

    kinds: dict[str, Any] = {}
    for name in (method,) if method else METHODS:
        for options in methods.load(name).kinds:
            hints = get_type_hints(options)
            kinds |= {field.name: hints[field.name] for field in fields(options)}
    found = {}
    for word in given:
        name, equals, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in kinds:
            raise OptionError(
                f'--set {word}: expected OPTION=VALUE, and no option "{name}": {nearest(name, kinds)}'
            )
        found[name] = parse(kinds[name], name, value)
    return found
