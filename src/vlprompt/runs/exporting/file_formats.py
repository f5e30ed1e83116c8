"""The two kinds of files: each writes a traced program, and runs one."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vlprompt.errors import ExportError, MissingExtra
from vlprompt.runs.exporting.metadata import as_texts, from_texts

if TYPE_CHECKING:
    from torch.export import ExportedProgram

EXTRA_FILE = "vlprompt.json"  # in a .pt2 file
OUTPUTS = ["logits", "probabilities"]
LARGE = 1_900_000_000  # bytes of weights; protobuf ends at 2 GiB, beyond that they go into a file beside


def write_onnx(program: ExportedProgram, path: Path, about: dict[str, Any]) -> None:
    """An ONNX file; weights of more than LARGE bytes go into PATH.data beside it."""
    try:
        import onnx  # noqa: F401 (torch names a missing one less clearly)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra("onnx and onnxscript", "onnx", "vlprompt export") from error
    quiet = logging.getLogger("onnxscript"), logging.getLogger("onnx_ir"), logging.getLogger("torch.onnx")
    levels = [logger.level for logger in quiet]
    try:
        for logger in quiet:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            found = torch.onnx.export(
                program, (), dynamo=True, verbose=False, input_names=["pictures"], output_names=OUTPUTS
            )
    except Exception as error:
        raise ExportError(
            f"torch.onnx cannot write this program: {first_cause(error)} (try --format torch)"
        ) from error
    finally:
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)
    assert found is not None
    found.model.metadata_props.update(as_texts(about))
    found.model.producer_name, found.model.producer_version = "vlprompt", about["vlprompt"]
    size = sum(
        value.const_value.nbytes
        for value in found.model.graph.initializers.values()
        if value.const_value is not None
    )
    found.save(path, external_data=size > LARGE)


def first_cause(error: BaseException) -> str:
    """One line of the error that all others follow from."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def open_onnx(path: str | Path) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
    """Pictures -> logits and probabilities, with onnxruntime on the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "onnx", "running an ONNX file") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda pictures: session.run(OUTPUTS, {"pictures": pictures})


def about_onnx(path: str | Path) -> dict[str, Any]:
    """What an ONNX file says about itself."""
    import onnx

    held = onnx.load(str(path), load_external_data=False)
    return from_texts({entry.key: entry.value for entry in held.metadata_props})


def write_torch(program: ExportedProgram, path: Path, about: dict[str, Any]) -> None:
    """A program that `torch.export.load` reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path, extra_files={EXTRA_FILE: json.dumps(about, ensure_ascii=False)})


def open_torch(path: str | Path) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
    """Pictures -> logits and probabilities, with torch."""
    module = torch.export.load(path).module()

    @torch.no_grad()
    def compute(pictures: np.ndarray) -> list[np.ndarray]:
        return [part.numpy() for part in module(torch.from_numpy(pictures))]

    return compute


def about_torch(path: str | Path) -> dict[str, Any]:
    """What a .pt2 file says about itself."""
    extra = {EXTRA_FILE: ""}
    torch.export.load(path, extra_files=extra)
    return json.loads(extra[EXTRA_FILE])
