"""predictions.csv of a run: what was said about every held-out picture, for people and for the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlprompt.files import read_file
from vlprompt.plain_text import cell, csv_line, of_cell
from vlprompt.scoring.calibration import confidences

FILE = "predictions.csv"
HEADER = (
    "split",
    "path",
    "class",
    "predicted",
    "probability",
    "calibrated",
    "zero_shot",
    "zero_shot_probability",
)


@dataclass(frozen=True)
class Said:
    """One held-out picture. Names of classes; probabilities of the predicted class, 0 to 1.

    calibrated: with the run's temperature, where it has one. zero_shot: None where it was not asked.
    """

    split: str
    path: str
    true: str
    predicted: str
    probability: float
    calibrated: float | None = None
    zero_shot: str | None = None
    zero_shot_probability: float | None = None

    @property
    def right(self) -> bool:
        return self.predicted == self.true


def said_of(
    split: str,
    paths: Sequence[str],
    labels: np.ndarray,
    names: Sequence[str],
    logits: np.ndarray,
    *,
    temperature: float | None = None,
    zero_shot: tuple[Sequence[str], np.ndarray] | None = None,
) -> list[Said]:
    """Rows of one split. labels: [N]; logits: [N, C]. zero_shot: its paths and logits, perhaps of more pictures."""
    first = logits.argmax(1)
    plain = confidences(logits)
    mended = confidences(logits, temperature) if temperature is not None else None
    before = {}
    if zero_shot is not None:
        chosen = zero_shot[1].argmax(1)
        before = dict(zip(zero_shot[0], zip(chosen, confidences(zero_shot[1]), strict=True), strict=True))
    found = []
    for i, path in enumerate(paths):
        other = before.get(path)
        found.append(
            Said(
                split,
                path,
                names[labels[i]],
                names[first[i]],
                float(plain[i]),
                None if mended is None else float(mended[i]),
                None if other is None else names[other[0]],
                None if other is None else float(other[1]),
            )
        )
    return found


def to_csv(rows: Sequence[Said]) -> bytes:
    """A header and one line per picture, UTF-8; what is not known is empty. Texts as `plain_text.cell` writes them."""
    lines = [csv_line(HEADER)]
    for row in rows:
        lines.append(
            csv_line(
                [
                    cell(row.split),
                    cell(row.path),
                    cell(row.true),
                    cell(row.predicted),
                    _number(row.probability),
                    _number(row.calibrated),
                    cell(row.zero_shot or ""),
                    _number(row.zero_shot_probability),
                ]
            )
        )
    return "".join(lines).encode(errors="surrogateescape")  # file names may be other than UTF-8


def read_predictions(folder: Path, split: str | None = None) -> list[Said]:
    """The rows of a run folder, [] without the file or where it is damaged; of one split, if it is named."""
    try:
        rows = list(
            csv.DictReader(io.StringIO(read_file(folder / FILE).decode(errors="surrogateescape"), newline=""))
        )
        found = [
            Said(
                of_cell(row["split"]),
                of_cell(row["path"]),
                of_cell(row["class"]),
                of_cell(row["predicted"]),
                float(row["probability"]),
                _value(row["calibrated"]),
                of_cell(row["zero_shot"]) or None,
                _value(row["zero_shot_probability"]),
            )
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []
    return [row for row in found if split is None or row.split == split]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _value(text: str) -> float | None:
    return float(text) if text else None
