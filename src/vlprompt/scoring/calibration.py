"""Whether a probability means what it says: reliability, its expected error, and one temperature that mends it.

    p = softmax(logits / T)        T: the least negative log-likelihood on the validation pictures

T changes how sure the answers sound and no answer. Source: Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017, sections 2 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from vlprompt.record_schema import Count, Range, Record
from vlprompt.temperature import fit_temperature, log_probabilities, nll

BINS = 10
FEW = 50  # validation pictures below which a temperature is a rough guess
Temperature = Annotated[float, Range(1e-6, 1e6)]


@dataclass
class CalibrationInfo(Record):
    """One temperature; nll, ece: before and after, ece by split."""

    temperature: Temperature
    applied: bool = False
    fitted_on: str = "val"
    count: Count = 0
    nll: tuple[float, float] = (0.0, 0.0)
    ece: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bin:
    """Pictures whose confidence lies in (low, high]; confidence: their mean, 0 to 1; accuracy: 0 to 1."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def confidences(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probability of the most probable class, [N]."""
    if not len(logits):
        return np.zeros(0)
    return np.exp(log_probabilities(logits, temperature).max(axis=1))


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Bins of equal width that hold pictures. confidence: [N], 0 to 1; correct: [N], bool."""
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for i in range(bins):
        inside = place == i
        if inside.any():
            found.append(
                Bin(
                    i / bins,
                    (i + 1) / bins,
                    int(inside.sum()),
                    float(confidence[inside].mean()),
                    float(correct[inside].mean()),
                )
            )
    return found


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error in per cent: how far confidence and accuracy of a bin lie apart, on average."""
    total = max(1, len(confidence))
    return 100 * sum(
        b.count / total * abs(b.confidence - b.accuracy) for b in reliability(confidence, correct, bins)
    )


def calibration_record(
    val: tuple[np.ndarray, np.ndarray] | None, scored: dict[str, tuple[np.ndarray, np.ndarray]]
) -> CalibrationInfo | None:
    """What run.json holds about calibration; None without validation pictures.

    val, scored by split: (logits [N, C], labels [N]). Pairs are (before, after).
    """
    if val is None or not len(val[1]):
        return None
    t = fit_temperature(*val)
    errors = {}
    for split, (logits, labels) in scored.items():
        correct = logits.argmax(1) == labels
        before, after = (round(ece(confidences(logits, at), correct), 3) for at in (1.0, t))
        errors[split] = (before, after)
    return CalibrationInfo(
        temperature=round(t, 6),
        count=len(val[1]),
        nll=(round(nll(*val), 6), round(nll(*val, t), 6)),
        ece=errors,
    )


def calibration_line(record: CalibrationInfo) -> str:
    """What the temperature does, in one line, from `calibration_record`."""
    count = record.count
    errors = ", ".join(f"{split} {a:.1f} becomes {b:.1f}" for split, (a, b) in record.ece.items())
    rough = f"; {count} pictures give a rough guess only" if count < FEW else ""
    return f"temperature {record.temperature:.2f} from {count} validation pictures; calibration error, points: {errors}{rough}"
