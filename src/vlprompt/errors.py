"""Errors that a user can mend: one line that says what is wrong and what to do.

VlpromptError
├── OptionError     a wrong value, name or combination of options   (exit code 2)
├── DataError       pictures, labels, archives, splits
│   └── PictureError    one picture that cannot be decoded
├── BackboneError   weights, tokenizers, layouts
├── RunError        saved runs: missing, damaged, of another backbone
├── TrainingError   a loss that is not finite, nothing to train on
├── ExportError     a method that cannot be exported, or a file that differs
└── MissingExtra    an optional dependency that is not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 1500  # characters of a message


class VlpromptError(Exception):
    """Base of all errors raised on purpose; the command line prints its text alone."""

    exit_code = 1

    def __str__(self) -> str:
        """As a person may read it: what comes from files is quoted in part, where it is long."""
        text = super().__str__()
        return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


class OptionError(VlpromptError, ValueError):
    """A value, name or combination of options that cannot be used."""

    exit_code = 2


class DataError(VlpromptError, ValueError):
    """Pictures, labels, archives or splits that cannot be used."""


class PictureError(DataError):
    """One picture that cannot be decoded or is too large."""


class BackboneError(VlpromptError, ValueError):
    """Weights, tokenizers or layouts that cannot be loaded."""


class RunError(VlpromptError):
    """A saved run that is missing, damaged or belongs to another backbone."""


class TrainingError(VlpromptError, RuntimeError):
    """Training that cannot go on, such as a loss that is not finite."""


class ExportError(VlpromptError, RuntimeError):
    """A run that cannot become a file, or whose file computes something else."""


class MissingExtra(VlpromptError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'vlprompt[{extra}]'")


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean "x"? known: a, b, x` for a name that is not known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return f"{hint}known: {', '.join(names)}"
