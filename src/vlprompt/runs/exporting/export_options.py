"""What an export can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlprompt.errors import OptionError
from vlprompt.options import OptionSet, option

ENDINGS = {".onnx": "onnx", ".pt2": "torch"}  # of the file, and what it is then
FORMATS = ("auto", *ENDINGS.values())
PIXELS = ("uint8", "float")


@dataclass(frozen=True)
class ExportOptions(OptionSet):
    """format: of the file. pixels: of the pictures that it takes."""

    format: str = option(
        "auto",
        "onnx, or torch for a program of torch.export; auto: by the ending, .onnx or .pt2",
        choices=FORMATS,
    )
    pixels: str = option(
        "uint8",
        "uint8: pictures [batch, size, size, 3], 0 to 255; float: [batch, 3, size, size], 0 to 1",
        choices=PIXELS,
    )


def kind_of(path: Path, format: str = "auto", overwrite: bool = False) -> str:
    """ "onnx" or "torch"; OptionError for another ending, and for a file that is there and not to be replaced."""
    if path.is_dir():
        raise OptionError(f"{path}: is a folder; give the file to write, such as {path / 'model.onnx'}")
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        ends = f'ends in "{path.suffix}"' if path.suffix else "has no ending"
        raise OptionError(
            f"{path}: {ends}; what can be written are .onnx and .pt2 (other kinds are made from ONNX by other programs)"
        )
    if format not in ("auto", kind):
        wanted = next(ending for ending, one in ENDINGS.items() if one == format)
        raise OptionError(f'{path}: a file of format {format} ends in "{wanted}"')
    if path.exists() and not overwrite:
        raise OptionError(f"{path}: is there already; give another name, or --overwrite to replace it")
    return kind
