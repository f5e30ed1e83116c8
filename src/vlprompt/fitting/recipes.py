"""Recipes: published settings of a method as files, `fit(..., recipe="maple")`.

Settings that authors chose for single data sets are variants of a file, `recipe="mmrl:oxford_pets"`: what a variant
says goes before the rest of the file. Nobody takes one unasked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlprompt.errors import OptionError, nearest
from vlprompt.files import read_json

FOLDER = Path(__file__).parent.parent / "assets" / "recipes"
VARIANT = ":"  # between the names of a recipe and of a variant
_KEYS = {"title", "source", "backbone", "method", "options", "train", "variants"}


@dataclass(frozen=True)
class SavedRecipe:
    """method, its options, and training options by name; source: where they were published.

    variants: by name, what is otherwise for one data set: {"options": {...}, "train": {...}}.
    """

    title: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    backbone: str = ""
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    def variant(self, name: str) -> SavedRecipe:
        """The recipe with the settings of one of its variants; OptionError if it has none of that name."""
        if name not in self.variants:
            raise OptionError(
                f'recipe "{self.title}" has no variant "{name}": {nearest(name, self.variants)}'
            )
        own = self.variants[name]
        return replace(
            self,
            title=f"{self.title}, {name}",
            options=self.options | own.get("options", {}),
            train=self.train | own.get("train", {}),
            variants={},
        )


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def measured_for(method: str, backbone: str) -> str | None:
    """The recipe with the settings that were measured for a method on a backbone of this size; None where none were.

    The same for the command line, Python and the studio. backbone: its source.
    """
    name = f"small_{method.replace('+', '_')}"
    return name if backbone == "embedded" and name in recipe_names() else None


def load_recipe(name: str | Path) -> SavedRecipe:
    """A recipe by name, or from a JSON file of the same form; OptionError says what is wrong with it.

    `name:variant` (of a file too) is the recipe with what differs for one data set.
    """
    base, _, variant = str(name).rpartition(VARIANT)
    if base and (base in recipe_names() or (not Path(name).is_file() and Path(base).is_file())):
        return load_recipe(base).variant(variant)
    path = FOLDER / f"{name}.json"
    if str(name) not in recipe_names():
        path = Path(name)
        if not path.is_file():
            raise OptionError(f'no recipe "{name}": {nearest(str(name), recipe_names())}, or a JSON file')
    try:
        held = read_json(path)
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: no recipe can be read from it ({error})") from error
    if not isinstance(held, dict) or not isinstance(held.get("method"), str):
        raise OptionError(f'{path}: a recipe is a JSON object with at least "method"')
    for key in held:
        if key not in _KEYS:
            raise OptionError(f'{path}: no key "{key}" in a recipe: {nearest(key, _KEYS)}')
    for key in ("options", "train"):
        if not isinstance(held.get(key, {}), dict):
            raise OptionError(f'{path}: "{key}" is to be an object, such as {{"epochs": 50}}')
    variants = held.get("variants", {})
    good = isinstance(variants, dict) and all(
        isinstance(v, dict)
        and set(v) <= {"options", "train"}
        and all(isinstance(p, dict) for p in v.values())
        for v in variants.values()
    )
    if not good:
        raise OptionError(f'{path}: "variants" is to be {{"NAME": {{"options": {{...}}, "train": {{...}}}}}}')
    return SavedRecipe(**{"title": path.stem, **held})
