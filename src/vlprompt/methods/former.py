"""Methods that were written for the contract before: what they said as class attributes and with `prompts`.

For one release such a class still works, with a DeprecationWarning that says what to change. What cannot go on is said
as an OptionError when the class is made: `forward` is put together from three parts now.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from vlprompt.errors import OptionError
from vlprompt.methods.batch import Batch, Seen
from vlprompt.methods.facts import Facts
from vlprompt.prompts.tokens import Prompts, Text, TextPrompt

_ATTRIBUTES = {  # former class attribute -> field of the facts
    "title": "title",
    "paper": "paper",
    "needs": "needs",
    "recipe": "recipe",
    "per_image_text": "per_image_text",
    "learns": "learns",
    "trains": "trains",
    "zero_shot_start": "zero_shot_start",
    "says_template": "says_template",
    "new_names": "takes_new_names",
    "independent_classes": "independent_classes",
    "per_step": "per_step",
}
_NEEDS = {"features": {"features"}, "patches": {"features", "patches"}, "pixels": {"pixels"}}
_PAGE = "docs/add-a-method.md shows how"


def adopt(cls: Any) -> None:
    """Takes over what a class says in the former way."""
    own = cls.__dict__
    who = f"{cls.__module__}.{cls.__qualname__}"
    if "forward" in own:
        raise OptionError(
            f"{who} has a forward of its own: give see(batch), texts(seen) and compare(seen, features) instead, which "
            f"forward is put together from ({_PAGE})"
        )
    said = [name for name in _ATTRIBUTES if name in own]
    if said:
        warnings.warn(
            f"{who}: class attributes such as {said[0]} are facts now: facts = Facts({said[0]}=..., ...) ({_PAGE})",
            DeprecationWarning,
            stacklevel=3,
        )
        values: dict[str, Any] = {_ATTRIBUTES[name]: own[name] for name in said}
        if isinstance(values.get("needs"), str):
            values["needs"] = frozenset(_NEEDS.get(values["needs"], {values["needs"]}))
        start: Facts = own.get("facts", cls.facts)
        cls.facts = replace(start, **values)
    if "prompts" in own and not {"see", "texts"} & set(own):
        warnings.warn(
            f"{who}: prompts(image_features) is texts(seen) now, which returns a list of text prompts; visual prompts go "
            f"into see(batch) ({_PAGE})",
            DeprecationWarning,
            stacklevel=3,
        )
        cls.see, cls.texts = _see, _texts


def prompts_of(method: Any, image_features: Tensor | None) -> Prompts:
    """What `Method.prompts` gave: the first text prompt."""
    warnings.warn(
        "method.prompts() is method.texts() now, which gives a list", DeprecationWarning, stacklevel=3
    )
    seen = None if image_features is None else Seen(image_features, image_features[:, None])
    text = next(text for text in method.texts(seen) if isinstance(text, TextPrompt))
    return Prompts(text)


def _see(self: Any, batch: Batch) -> Seen:
    """From the image part of `prompts`."""
    if "pixels" not in self.facts.needs:
        return Seen(self.frozen_features(batch), batch.patches)
    assert batch.pixels is not None
    frozen = self.interpreter.image(batch.pixels) if self.facts.per_image_text else None
    return Seen(self.interpreter.image(batch.pixels, self.prompts(frozen).image), extra={"frozen": frozen})


def _texts(self: Any, seen: Seen | None = None) -> Sequence[Text]:
    """The text part of `prompts`."""
    frozen = None
    if self.facts.per_image_text and seen is not None:
        frozen = seen.extra.get("frozen", seen.features)
    return [self.prompts(frozen).text]
