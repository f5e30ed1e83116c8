"""Commands that are suggested, as they can be pasted into a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Blank(str):
    """A word that the reader fills in, such as PICTURE..., which stands as it is."""

    __slots__ = ()


def pasted(*words: str | Path) -> str:
    """`vlprompt WORDS`, quoted for the shell of this system where that is needed.

    A path that begins with a dash is given as ./-path, because it would be taken for an option.
    """
    shown: list[str] = []
    for word in words:
        text = str(word)
        if isinstance(word, Path) and text.startswith("-"):
            text = f".{os.sep}{text}"
        shown.append(text if isinstance(word, Blank) else quoted(text))
    return " ".join(["vlprompt", *shown])


def quoted(word: str) -> str:
    """One word for the shell of this system."""
    return subprocess.list2cmdline([word]) if os.name == "nt" else shlex.quote(word)


def aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of command and what it is for, the second in one column."""
    wide = max((len(command) for command, _ in rows), default=0)
    return [f"  {command:{wide}}   {what}" for command, what in rows]
