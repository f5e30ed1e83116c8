"""What the studio takes from a browser, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlprompt.data.naming import prettify
from vlprompt.data.pictures import open_picture
from vlprompt.errors import DataError, PictureError

if TYPE_CHECKING:
    from vlprompt.feeding.decoders import Decoders

MB = 2**20


@dataclass(frozen=True)
class Limits:
    """picture_bytes, pixels: of one picture. upload_bytes: of one file of any kind, such as an archive.

    pictures, session_bytes, classes, tried: of one session (an open tab); tried: pictures asked about at once.
    sessions: open at a time. epochs: of one training. waiting: trainings in the queue.
    """

    picture_bytes: int = 20 * MB
    pixels: int = 50_000_000
    picture_seconds: float = 10.0
    upload_bytes: int = 300 * MB
    waiting_bytes: int = 1_000 * MB
    waiting_seconds: float = 600.0
    pictures: int = 3_000
    session_bytes: int = 1_000 * MB
    classes: int = 100
    tried: int = 12
    sessions: int = 20
    epochs: int = 500
    waiting: int = 20
    name_length: int = 80

    def check_picture(self, data: bytes, name: str, decoders: Decoders | None = None) -> None:
        """PictureError unless the bytes are a whole picture of a permitted size; it is decoded to see that.

        decoders: where, so that a picture that takes too long stops nobody else; None: in this process.
        """
        if len(data) > self.picture_bytes:
            raise PictureError(
                f"{name}: {len(data) / MB:.0f} MB, and at most {self.picture_bytes // MB} MB are taken"
            )
        if decoders is None:
            open_picture(data, name=name, most_pixels=self.pixels)
        else:
            decoders.check(data, name, self.pixels)

    def check_name(self, name: str | None) -> str:
        """The name of a class as it is kept; DataError if it cannot be one. None: a message of no page of ours."""
        words = "".join(c if c.isprintable() else " " for c in prettify(name or "")).strip()
        if not words:
            raise DataError("give the class a name first, in plain words: what do its pictures show?")
        if len(words) > self.name_length:
            raise DataError(f"this name has {len(words)} letters; use at most {self.name_length}")
        return words


def confined(path: str | Path, folder: Path) -> Path:
    """The real path; DataError when it lies outside the folder, also through links and `..`."""
    real, inside = Path(path).expanduser().resolve(), folder.resolve()
    if real != inside and inside not in real.parents:
        raise DataError(f"{path}: outside of {folder}")
    return real
