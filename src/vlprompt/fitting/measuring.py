"""Measure: which pictures say how good a run is."""

from __future__ import annotations

from dataclasses import dataclass

from vlprompt.options import OptionSet, option


@dataclass(frozen=True)
class Measure(OptionSet):
    """How a run is measured, beside what it learns."""

    calibrate: bool | None = option(
        None,
        "divide logits by the temperature that suits the validation pictures best; it changes probabilities and no "
        "answer, and may be given for a finished run too",
    )
