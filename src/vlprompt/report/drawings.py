"""The figures that protocols name in their facts: a function of the records for each name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def drawings() -> dict[str, Callable[..., Figure]]:
    """By the name that `ProtocolFacts.drawing` gives; each takes averages=True for their panel alone. Imports Matplotlib."""
    from vlprompt.report.base_against_new import base_new_plane
    from vlprompt.report.curves import forgetting_curves, shot_curves

    return {"shots": shot_curves, "forgetting": forgetting_curves, "base_new": base_new_plane}
