"""What the demo trains. All methods of one kind get the same settings; none was chosen on test pictures."""

from __future__ import annotations

from typing import Any

from vlprompt.fitting.recipes import recipe_names

SHOTS = 16
METHODS = ("linear_probe", "coop", "cocoop", "maple", "lamm", "coop+lamm", "maple+lamm", "auto")
# Text-side methods step over kept features in milliseconds, and probes take seconds. Methods with prompts in the image
# tower, or with texts of their own for every picture, take as long for one seed as the others for some.
QUICK, SLOW = ("linear_probe", "coop", "lamm", "coop+lamm", "auto"), ("cocoop", "maple", "maple+lamm")
SEEDS: dict[str, tuple[int, ...]] = dict.fromkeys(QUICK, (1, 2, 3)) | dict.fromkeys(SLOW, (1,))
SHOWN = "auto"  # whose predictions and confusions the report shows: what `fit` gives

# Cost of one training relative to CoOp's, for the order of jobs and the progress bar.
COST = {
    "linear_probe": 0.3,
    "lamm": 1.0,
    "coop+lamm": 1.5,
    "auto": 6.0,
    "cocoop": 12.0,
    "maple": 8.0,
    "maple+lamm": 9.0,
}

_SHORT = {"epochs": 1, "batch": 8, "views": "center", "warmup_epochs": 0}
_HALF = {"epochs": 50}
# Over the recipes: what keeps the demo within three minutes on two cores. Without a warm-up, which would be
# all of a single epoch; and half of the passes for prompts whose steps take all pictures.
BUDGET: dict[str, dict[str, Any]] = dict.fromkeys(SLOW, _SHORT) | dict.fromkeys(
    ("coop", "lamm", "coop+lamm"), _HALF
)


def recipe(method: str) -> str | None:
    """The recipe for small backbones, see `assets/recipes/small_*.json`; None where nothing is to be set."""
    name = f"small_{method.replace('+', '_')}"
    return name if name in recipe_names() else None


def takes_part(method: str, protocol: str) -> bool:
    """Whether a method can be compared under a protocol: base-to-new asks for names that were never learned from."""
    from vlprompt.fitting.plan import Plan

    return protocol == "few_shot" or Plan(method).spec.facts.takes_new_names
