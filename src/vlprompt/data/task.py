"""Task: what a method has to know about the classes it is to tell apart."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_TEMPLATE = "a photo of a {}."


@dataclass(frozen=True)
class Task:
    """class_names in label order; templates with one {} each; shots: training pictures per class."""

    class_names: tuple[str, ...]
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    shots: int = 16
