"""Task: what a method has to know about the classes it is to tell apart."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_TEMPLATE = "a photo of a {}."
# The zero-shot reference averages these, unless templates are given; prompts start from the first.
ZERO_SHOT_TEMPLATES = (
    DEFAULT_TEMPLATE,
    "a picture of a {}.",
    "a close-up photo of a {}.",
    "a photo of the {}.",
    "a {}",
    "{}",
)


@dataclass(frozen=True)
class Task:
    """class_names in label order; templates with one {} each; shots: training pictures per class."""

    class_names: tuple[str, ...]
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    shots: int = 16
