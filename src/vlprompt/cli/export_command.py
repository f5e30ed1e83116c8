"""vlprompt export: a run as one file for other programs."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from vlprompt.cli import shared_arguments as shared
from vlprompt.cli.console import note, say
from vlprompt.runs.exporting.export_options import ExportOptions, kind_of

_HELP = {f.name: f.metadata["help"].replace("[", r"\[") for f in fields(ExportOptions)}  # no markup of rich


def export(
    run: shared.RunFolder,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", show_default=False, help="to write: model.onnx, model.pt2, or a folder with --web"
        ),
    ],
    format_: Annotated[
        str, typer.Option("--format", metavar="auto|onnx|torch", help=_HELP["format"])
    ] = "auto",
    pixels: Annotated[str, typer.Option("--pixels", metavar="uint8|float", help=_HELP["pixels"])] = "uint8",
    web: Annotated[
        Path | None,
        typer.Option(
            "--web",
            metavar="RUNTIME",
            show_default=False,
            help="write a page for browsers instead, with onnxruntime-web from this folder (npm install onnxruntime-web)",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a file that is there")] = False,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "-b",
            metavar="PATH",
            show_default=False,
            help="where the backbone now lies, if it has moved",
        ),
    ] = None,
) -> None:
    """A run as one file that needs no vlprompt: pictures in, probabilities out.

    The file says what its classes are and how pictures are scaled to its
    input. It is compared with the run before it gets its name.

    \b
    vlprompt export runs/x model.onnx
    vlprompt export runs/x page/ --web node_modules/onnxruntime-web
    vlprompt export runs/x model.pt2          a program of torch.export
    """
    options = ExportOptions(format_, pixels)
    if web is not None:
        _page(run, file, web, overwrite, backbone)
        return
    kind_of(file, options.format, overwrite)  # a wrong name is said before torch is loaded
    note("loading torch and the backbone")
    from vlprompt.runs.exporting.export import export as write
    from vlprompt.runs.run import Run

    loaded = Run.load(run, backbone, device="cpu", precision="float32")
    note("tracing the method and comparing the file with the run; this can take a minute")
    found = write(loaded, file, options, overwrite=overwrite)
    taken = found.about["input"]
    shape = ", ".join(map(str, taken["shape"]))
    say(
        f"{found.path}: {found.size / 1e6:.1f} MB, pictures {taken['dtype']} [{shape}] -> probabilities "
        f"[batch, {len(found.about['class_names'])}]; differs from torch by at most {found.difference.probabilities:.1g} "
        f"in probabilities, {found.difference.logits:.1g} in logits"
    )


def _page(run: Path, folder: Path, runtime: Path, overwrite: bool, backbone: str | None) -> None:
    note("loading torch and the backbone")
    from vlprompt.runs.exporting.web_page import check_place, export_page, runtime_files
    from vlprompt.runs.run import Run

    runtime_files(runtime)
    check_place(folder, overwrite)
    loaded = Run.load(run, backbone, device="cpu", precision="float32")
    note("tracing the method and comparing it with the run; this can take a minute")
    found = export_page(loaded, folder, runtime, overwrite=overwrite)
    say(f"{found.path}: {found.size / 1e6:.1f} MB with model and runtime; open it in a browser")
