"""export: from a run to a file that needs neither the run nor vlprompt."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vlprompt.errors import ExportError, OptionError, VlpromptError
from vlprompt.locks import workplace
from vlprompt.runs.exporting import file_formats as formats
from vlprompt.runs.exporting.checking import Difference, compare
from vlprompt.runs.exporting.export_options import ExportOptions, kind_of
from vlprompt.runs.exporting.metadata import describe
from vlprompt.runs.exporting.program import program_of
from vlprompt.runs.run import Run

if TYPE_CHECKING:
    from torch.export import ExportedProgram

EXAMPLE = 3  # pictures in the batch that is traced; any number can be given later


@dataclass(frozen=True)
class Exported:
    """path: the file. format: "onnx" or "torch". size: bytes, with the weights beside it where there are some.

    about: what the file says about itself. difference: from the run itself, on pictures of noise.
    """

    path: Path
    format: str
    size: int
    about: dict[str, Any]
    difference: Difference


def export(
    run: Run | str | Path,
    path: str | Path,
    options: ExportOptions | None = None,
    *,
    overwrite: bool = False,
    **values: Any,
) -> Exported:
    """Writes a run as one file: pictures in, logits and probabilities [batch, C] out, batch of any size.

    run: a Run in float32 on the CPU, or its folder. path: of the file, whose ending says its kind.
    overwrite: replace what is there, at once when the new file is whole.
    options, or single ones of `ExportOptions` by name: format ("onnx", "torch", "auto"), pixels ("uint8" for
    pictures [batch, S, S, 3] from 0 to 255, "float" for [batch, 3, S, S] from 0 to 1).

    Normalisation, visual prompts, text features and the run's temperature are inside; class names and how
    pictures are scaled and cropped to S x S are in the file's metadata. The file is compared with the run
    before it gets its name. Raises ExportError for a method that cannot be traced or a program that differs,
    OptionError for a run in another precision, MissingExtra without onnx, onnxscript and onnxruntime.
    """
    opts = options if options is not None else ExportOptions(**values)
    path = Path(path)
    kind = kind_of(path, opts.format, overwrite)
    held = run if isinstance(run, Run) else Run.load(run, device="cpu", precision="float32")
    if held.backbone.dtype != torch.float32 or held.backbone.device.type != "cpu":
        raise OptionError(
            'a run is exported in float32 on the CPU: load it with device="cpu", precision="float32"'
        )
    about = describe(held, opts.pixels)
    with workplace(path) as beside:
        program = traced(held, opts.pixels)
        write, open_ = (
            (formats.write_onnx, formats.open_onnx)
            if kind == "onnx"
            else (formats.write_torch, formats.open_torch)
        )
        write(program, beside / path.name, about)
        difference = compare(held, open_(beside / path.name), opts.pixels)
        # the one that names others last
        files = sorted(beside.iterdir(), key=lambda file: file.name == path.name)
        size = sum(file.stat().st_size for file in files)
        if (
            len(files) > 1
        ):  # weights apart: until all are in place there is no file, rather than an old one with new weights
            path.unlink(missing_ok=True)
        for file in files:
            os.replace(file, path.parent / file.name)
    return Exported(path, kind, size, about, difference)


def traced(run: Run, pixels: str = "uint8") -> ExportedProgram:
    """The run's computation as a program of torch.export; the batch dimension is dynamic."""
    method, size = run.method, run.backbone.preprocessing.size
    uint8 = pixels == "uint8"
    example = (
        torch.zeros(EXAMPLE, size, size, 3, dtype=torch.uint8)
        if uint8
        else torch.rand(EXAMPLE, 3, size, size)
    )
    try:
        # where torch.export fails, it prints the whole graph first
        with (
            torch.no_grad(),
            redirect_stderr(io.StringIO()),
            program_of(method, pixels, run.temperature) as program,
        ):
            return torch.export.export(
                program.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
            )
    except VlpromptError:
        raise
    except Exception as error:
        name = run.info.method
        raise ExportError(
            f'method "{name}" cannot be traced by torch.export: {formats.first_cause(error)}'
        ) from error
