"""What fit learns from the logits of held-out pictures: scores, a temperature, thresholds, one row per picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vlprompt.fitting.measuring import CROSSED
from vlprompt.runs.predictions_file import Said, said_of
from vlprompt.scoring.calibration import CalibrationInfo, calibration_record, confidences
from vlprompt.scoring.evaluation import Scores, scores_of
from vlprompt.scoring.rejection import RejectionInfo, rejection_record

if TYPE_CHECKING:
    from vlprompt.feeding.inputs import Inputs


class Outcome:
    """Collects the logits of one run, split by split. names: of the classes, in the order of the logits.

    scores: of every split, and of "zero_shot" and other references on the reported one.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.scores: dict[str, Scores] = {}
        self._parts: dict[str, tuple[list[str], np.ndarray, np.ndarray]] = {}  # paths, labels, logits
        self._reference: tuple[list[str], np.ndarray] | None = None
        self._temperature: float | None = None

    @property
    def reported(self) -> str | None:
        """The split whose scores stand for the run: test, or validation, or cross-validation."""
        return next(iter(self._parts), None)

    def zero_shot(self, inputs: Inputs, logits: np.ndarray) -> Scores:
        """Takes the reference's logits [N, C]; its scores."""
        self._reference = [item.path for item in inputs.items], logits
        return self.beside("zero_shot", inputs, logits)

    def beside(self, name: str, inputs: Inputs, logits: np.ndarray) -> Scores:
        """Takes the logits of another method on the reported pictures; its scores."""
        self.scores[name] = scores_of(logits.argmax(1), inputs.labels.numpy(), self.names)
        return self.scores[name]

    def add(self, split: str, inputs: Inputs, logits: np.ndarray) -> Scores:
        """Takes the learned method's logits [N, C] on a split, the reported one first; its scores."""
        self._parts[split] = [item.path for item in inputs.items], inputs.labels.numpy(), logits
        return self.beside(split, inputs, logits)

    def records(self) -> tuple[CalibrationInfo | None, RejectionInfo | None]:
        """Of pictures that were not learned from, validation or cross-validation; both None without."""
        chosen_on = next((name for name in ("val", CROSSED) if name in self._parts), None)
        if chosen_on is None:
            return None, None
        _, labels, logits = self._parts[chosen_on]
        scored = {
            split: (logits, labels) for split, (_, labels, logits) in self._parts.items() if len(labels)
        }
        found = calibration_record((logits, labels), scored)
        rejection = None
        if found is not None:
            found.fitted_on = chosen_on
            rejection = rejection_record(confidences(logits), confidences(logits, found.temperature))
            self._temperature = found.temperature
        if rejection is not None:
            rejection.chosen_on = chosen_on
        return found, rejection

    def predictions(self) -> list[Said]:
        """A row for every held-out picture, with the reference where the split is the reported one. After `records`."""
        rows: list[Said] = []
        for split, (paths, labels, logits) in self._parts.items():
            reference = self._reference if split == self.reported else None
            rows += said_of(
                split, paths, labels, self.names, logits, temperature=self._temperature, zero_shot=reference
            )
        return rows
