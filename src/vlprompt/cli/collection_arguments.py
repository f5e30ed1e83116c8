"""What the commands for large collections share: which pictures are meant, and what is said meanwhile."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlprompt.cli.console import note, say
from vlprompt.errors import DataError

if TYPE_CHECKING:
    from vlprompt.collections.shards import Done, Shard


def pictures(words: Sequence[str], *, all_there: bool = True) -> list[str]:
    """Files that the words mean: themselves, what lies in folders, and what patterns match; in order, once each.

    all_there: a path that is not there is an error, because where rows go to files nobody would notice; else it
    counts as a picture, and who reads it says so. DataError for that, for an archive, and for a folder or pattern
    without pictures.
    """
    from vlprompt.data.folder_layouts import is_picture
    from vlprompt.data.left_out import picture_files
    from vlprompt.data.sources import Folder

    found: dict[str, None] = {}
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            inside = picture_files(Folder(path))  # as fit lists it
            for text in inside.notices:
                note(f"{word}: {text}")
            if not inside.pictures:
                unread = f" that can be read: {inside.unread}" if inside.unread else ""
                raise DataError(f"{word}: no pictures in this folder{unread}")
            found.update(dict.fromkeys(str(path / name) for name in inside.pictures))
        elif not path.exists() and glob.has_magic(word):
            matched = sorted(glob.glob(str(path), recursive=True))
            if not matched:
                raise DataError(f"{word}: no file matches this pattern")
            files = [p for p in matched if Path(p).is_file()]
            if "." not in Path(word).name:  # such as photos/*: what is no picture is not meant
                files = [p for p in files if is_picture(p)] or files
            found.update(dict.fromkeys(files))
        elif all_there and not path.exists():
            raise DataError(f"{word}: there is no such file or folder")
        else:
            found[str(path)] = None
    for name in found:
        if not is_picture(name) and Path(name).is_file() and packed(Path(name)):
            raise DataError(
                f"{name}: is an archive, which only fit and data read in place: unpack it and give the folder"
            )
    return list(found)


def packed(path: Path) -> bool:
    """Whether the file is an archive; one that may not be read is left to whoever reads pictures."""
    from vlprompt.data.archives import is_archive

    try:
        return is_archive(path)
    except OSError:
        return False


def tell_shard(part: Shard, left: int) -> None:
    """A line for every shard, while others are to come."""
    errors = f", {part.errors} unreadable" if part.errors else ""
    note(f"{Path(part.path).name}: {len(part.pictures)} pictures{errors}; {left} files left")


def say_done(found: Done) -> None:
    """What came of it, and how fast."""
    from vlprompt.training.progress_bar import duration

    speed = f", {found.done / found.seconds:.0f} pictures/s" if found.done and found.seconds else ""
    say(
        f"{found.folder}: {found.pictures} pictures in {found.shards} files; {found.done} done now, "
        f"{found.errors} of them unreadable, {duration(found.seconds)}{speed}"
    )
