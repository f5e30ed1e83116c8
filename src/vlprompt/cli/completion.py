"""What a shell can complete: names of methods, recipes, protocols and backbones. None of it imports torch."""

from __future__ import annotations

import os
from collections.abc import Mapping


def typed_so_far(environment: Mapping[str, str] | None = None) -> list[str] | None:
    """The words of the command line that a shell asks to complete; None in a normal call."""
    held = os.environ if environment is None else environment
    if not held.get("_VLPROMPT_COMPLETE", "").startswith("complete"):
        return None
    text = held.get("_TYPER_COMPLETE_ARGS") or held.get("COMP_WORDS") or ""
    return text.split()[1:]


def method(incomplete: str) -> list[str]:
    """Method names; behind a comma, a further one."""
    from vlprompt.methods import names

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in names() if name.startswith(last)]


def recipe(incomplete: str) -> list[str]:
    from vlprompt.fitting.recipes import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


def protocol(incomplete: str) -> list[str]:
    from vlprompt.protocols import names

    return [name for name in names() if name.startswith(incomplete)]


def paper(incomplete: str) -> list[str]:
    from vlprompt.report.published_figures import PAPERS

    return [name for name in PAPERS if name.startswith(incomplete)]


def backbone(incomplete: str) -> list[str]:
    known = ("embedded", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px", "RN50", "RN101")
    return [name for name in known if name.startswith(incomplete)]
