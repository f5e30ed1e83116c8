"""What fit learns from the logits of held-out pictures: scores, a temperature, thresholds, one row per picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vlprompt.runs.predictions_file import Said, said_of
from vlprompt.scoring.calibration import CalibrationInfo, calibration_record, confidences
from vlprompt.scoring.evaluation import Scores, scores_of
from vlprompt.scoring.rejection import RejectionInfo, rejection_record

if TYPE_CHECKING:
    from vlprompt.feeding.inputs import Inputs


class Outcome:
    """Collects the logits of one run, split by split. names: of the classes, in the order of the logits."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._parts: dict[str, tuple[list[str], np.ndarray, np.ndarray]] = {}  # paths, labels, logits
        self._reference: tuple[list[str], np.ndarray] | None = None

    def zero_shot(self, inputs: Inputs, logits: np.ndarray) -> Scores:
        """Takes the reference's logits [N, C]; its scores."""
        self._reference = [item.path for item in inputs.items], logits
        return scores_of(logits.argmax(1), inputs.labels.numpy(), self.names)

    def add(self, split: str, inputs: Inputs, logits: np.ndarray) -> Scores:
        """Takes the learned method's logits [N, C] on a split; its scores."""
        labels = inputs.labels.numpy()
        self._parts[split] = [item.path for item in inputs.items], labels, logits
        return scores_of(logits.argmax(1), labels, self.names)

    def records(self) -> tuple[CalibrationInfo | None, RejectionInfo | None]:
        """ "calibration" and "rejection" of run.json; both None without validation pictures."""
        val = self._parts.get("val")
        scored = {
            split: (logits, labels) for split, (_, labels, logits) in self._parts.items() if len(labels)
        }
        found = calibration_record((val[2], val[1]) if val is not None else None, scored)
        rejection = None
        if found is not None and val is not None:
            rejection = rejection_record(confidences(val[2]), confidences(val[2], found.temperature))
        self._temperature = found.temperature if found is not None else None
        return found, rejection

    def predictions(self, reported: str | None) -> list[Said]:
        """A row for every held-out picture, with the reference where the split is the reported one. After `records`."""
        rows: list[Said] = []
        for split, (paths, labels, logits) in self._parts.items():
            reference = self._reference if split == reported else None
            rows += said_of(
                split, paths, labels, self.names, logits, temperature=self._temperature, zero_shot=reference
            )
        return rows
