"""What an export can be told."""

from __future__ import annotations

from dataclasses import dataclass

from vlprompt.options import OptionSet, option

FORMATS = ("auto", "onnx", "torch")
PIXELS = ("uint8", "float")


@dataclass(frozen=True)
class ExportOptions(OptionSet):
    """format: of the file. pixels: of the pictures that it takes."""

    format: str = option(
        "auto",
        "onnx, or torch for a program of torch.export; auto: torch for .pt2, else onnx",
        choices=FORMATS,
    )
    pixels: str = option(
        "uint8",
        "uint8: pictures [batch, size, size, 3], 0 to 255; float: [batch, 3, size, size], 0 to 1",
        choices=PIXELS,
    )
