"""Any error as one line: what commands print, and what a sweep notes down for a run that failed."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from vlprompt.errors import VlpromptError

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EACCES: "permission denied",
    errno.EROFS: "the file system is read-only",
}

LONGEST = 4000  # letters of a line


@dataclass(frozen=True)
class Explained:
    """code: exit code of a command that ends with it. mistake: nobody foresaw the error, so the fault is ours."""

    code: int
    text: str
    mistake: bool = False


def explain(error: Exception) -> Explained:
    """The exit code and the one line for an error."""
    if isinstance(error, VlpromptError):
        return Explained(error.exit_code, one_line(str(error)))
    if isinstance(error, OSError):
        what = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        return Explained(1, one_line(f"{where}{what}"))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Explained(
            1, "out of memory: try a smaller --batch, --accumulate 2 or more, or a smaller --memory"
        )
    return Explained(1, one_line(f"unexpected {type(error).__name__}: {error}"), mistake=True)


def one_line(text: str) -> str:
    """The text with every run of white space made one space, and not without end: it may quote a file from elsewhere."""
    line = " ".join(text[: 2 * LONGEST].split())
    return line if len(line) <= LONGEST and len(text) <= 2 * LONGEST else f"{line[:LONGEST]} …"
