"""Files that are written whole or not at all, also when the process is killed in the middle."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PART = ".part"  # ending of files that are being written


def write_atomically(path: Path, data: bytes) -> None:
    """The file holds either its old content or all of the new, also after a crash or a power cut."""
    write_together(path.parent, {path.name: data})


def write_together(folder: Path, files: dict[str, bytes]) -> None:
    """Files that belong together, the last of which says that they are complete.

    All are written beside their places first. Of several, the old last one goes before the others come, so
    that a process that is killed leaves the old ones, the new ones, or no last one. OSError leaves the old.
    """
    beside = {name: folder / f".{name}.{os.getpid()}{PART}" for name in files}
    *_, last = files
    try:
        for name, data in files.items():
            with open(beside[name], "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if len(files) > 1:
            (folder / last).unlink(missing_ok=True)
        for name in files:
            os.replace(beside[name], folder / name)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # the new names themselves have to reach the disk
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def remove_parts(folder: Path) -> None:
    """Removes what killed processes had begun to write; only for one who has the folder alone."""
    for path in folder.glob(f".*{PART}"):
        with suppress(OSError):
            path.unlink()
