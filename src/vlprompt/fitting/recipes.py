"""Recipes: published settings of a method as files, `fit(..., recipe="maple")`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlprompt.errors import OptionError, nearest

FOLDER = Path(__file__).parent.parent / "assets" / "recipes"
_KEYS = {"title", "source", "backbone", "method", "options", "train"}


@dataclass(frozen=True)
class SavedRecipe:
    """method, its options, and training options by name; source: where they were published."""

    title: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    backbone: str = ""


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_recipe(name: str | Path) -> SavedRecipe:
    """A recipe by name, or from a JSON file of the same form; OptionError says what is wrong with it."""
    path = FOLDER / f"{name}.json"
    if str(name) not in recipe_names():
        path = Path(name)
        if not path.is_file():
            raise OptionError(f'no recipe "{name}": {nearest(str(name), recipe_names())}, or a JSON file')
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionError(f"{path}: no recipe can be read from it ({error})") from error
    if not isinstance(held, dict) or not isinstance(held.get("method"), str):
        raise OptionError(f'{path}: a recipe is a JSON object with at least "method"')
    for key in held:
        if key not in _KEYS:
            raise OptionError(f'{path}: no key "{key}" in a recipe: {nearest(key, _KEYS)}')
    for key in ("options", "train"):
        if not isinstance(held.get(key, {}), dict):
            raise OptionError(f'{path}: "{key}" is to be an object, such as {{"epochs": 50}}')
    return SavedRecipe(**{"title": path.stem, **held})
