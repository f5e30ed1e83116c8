"""What the demo trains. All methods of one kind get the same settings; none was chosen on test pictures."""

from __future__ import annotations

from typing import Any

SHOTS = 16
METHODS = ("coop", "cocoop", "maple", "lamm", "coop+lamm", "maple+lamm")
# Text-side methods step over kept features in milliseconds. Methods with prompts in the image tower, or
# with texts of their own for every picture, take as long for one seed as the others for ten.
QUICK, SLOW = ("coop", "lamm", "coop+lamm"), ("cocoop", "maple", "maple+lamm")
SEEDS: dict[str, tuple[int, ...]] = dict.fromkeys(QUICK, (1, 2, 3)) | dict.fromkeys(SLOW, (1,))
SHOWN = "coop+lamm"  # whose predictions and confusions the report shows

# Cost of one training relative to CoOp's, for the order of jobs and the progress bar.
COST = {"coop": 1.0, "lamm": 1.0, "coop+lamm": 1.5, "cocoop": 12.0, "maple": 8.0, "maple+lamm": 9.0}


def recipe(method: str) -> str:
    """The recipe for small backbones, see `assets/recipes/small_*.json`."""
    return f"small_{method.replace('+', '_')}"


# Over the recipes: what keeps the demo within three minutes on two cores. Without a warm-up, which would be
# all of a single epoch.
BUDGET: dict[str, dict[str, Any]] = {
    **{name: {"epochs": 25, "batch": 128, "views": "center", "warmup_epochs": 0} for name in QUICK},
    "cocoop": {"epochs": 1, "batch": 8, "views": "center", "warmup_epochs": 0},
    **{
        name: {"epochs": 1, "batch": 8, "views": "center", "warmup_epochs": 0}
        for name in ("maple", "maple+lamm")
    },
}
