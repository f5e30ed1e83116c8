"""Methods: one file each. `load("coop+lamm")` finds them by name, and everything that a method of one's own needs is here.

from vlprompt.methods import Facts, Method, OptionSet, Recipe, option
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vlprompt.methods.facts import Facts, Recipe
from vlprompt.methods.finding import (
    MethodSpec,
    facts_of,
    known_facts,
    load,
    method_class,
    name_of,
    names,
    plain_names,
    without_wrappers,
    wrapper_names,
)
from vlprompt.options import OptionSet, option

if TYPE_CHECKING:
    from vlprompt.methods.base import Batch, Method, Seen
    from vlprompt.methods.parameter_groups import ParameterGroup
    from vlprompt.prompts.tokens import FrozenText, ImagePrompt, Output, TextPrompt

__all__ = [
    "Batch",
    "Facts",
    "FrozenText",
    "ImagePrompt",
    "Method",
    "MethodSpec",
    "OptionSet",
    "Output",
    "ParameterGroup",
    "Recipe",
    "Seen",
    "TextPrompt",
    "facts_of",
    "known_facts",
    "load",
    "method_class",
    "name_of",
    "names",
    "option",
    "plain_names",
    "without_wrappers",
    "wrapper_names",
]

_LATER = {  # these import torch
    "Batch": "methods.batch",
    "Method": "methods.base",
    "ParameterGroup": "methods.parameter_groups",
    "Seen": "methods.batch",
    "FrozenText": "prompts.tokens",
    "ImagePrompt": "prompts.tokens",
    "Output": "prompts.tokens",
    "TextPrompt": "prompts.tokens",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"vlprompt.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
