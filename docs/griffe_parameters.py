"""Docstrings on the site: `name: what it is` of a parameter or field becomes an item of a list.

In the source such sentences follow one another as running text, which reads well there and badly in a browser.
"""

from __future__ import annotations

import re
from typing import Any

import griffe


class Parameters(griffe.Extension):
    """Puts every parameter that a docstring explains on a line of its own."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        for thing in _all(pkg):
            if thing.docstring is not None:
                thing.docstring.value = listed(thing.docstring.value, _names(thing))


def _all(module: griffe.Module | griffe.Class) -> list[Any]:
    found: list[Any] = []
    for member in module.members.values():
        if member.is_alias or not (member.is_module or member.is_class or member.is_function):
            continue
        found.append(member)
        if not member.is_function:
            found += _all(member)
    return found


def _names(thing: Any) -> set[str]:
    """Parameters of a function; those of a class's constructor, or its fields."""
    if thing.is_function:
        return {parameter.name for parameter in thing.parameters}
    if thing.is_class:
        fields = {name for name, member in thing.members.items() if member.is_attribute}
        constructor = thing.members.get("__init__")
        return fields | (
            set() if constructor is None else {parameter.name for parameter in constructor.parameters}
        )
    return set()


def listed(text: str, names: set[str]) -> str:
    """`a: one. b, c: two.` becomes a list of `a` and `b, c`; text without a known name stays as it is."""
    if not names:
        return text
    name = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    start = re.compile(
        rf"(?:(?<=[.:;)])[ \n]+|(?<=\n)|^)((?:{name})(?:(?:, | and )(?:{name}))*)(?: (\[[^\]]*\]))?: "
    )
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith(" ") or ("\n    " in paragraph and not start.match(paragraph)):
            paragraphs.append(paragraph)  # code
            continue
        pieces, end = [], 0
        for found in start.finditer(paragraph):
            before = paragraph[end : found.start()].strip()
            pieces.append(before if end or not before else before + "\n")
            shape = f" `{found[2]}`" if found[2] else ""
            pieces.append(f"\n- **{found[1]}**{shape}: ")
            end = found.end()
        rest = paragraph[end:].strip()
        joined = "".join((*pieces, rest))
        paragraphs.append(re.sub(r"(?<=\S)\n +", "\n", joined).strip("\n") if pieces else paragraph)
    return "\n\n".join(paragraphs)
