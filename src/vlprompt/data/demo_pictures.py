"""The pictures that come with the package, opened by name: "demo", and "emoji" with its domains ("emoji:google").

demo: twenty kinds of groceries, photographed in shops (Grocery Store Dataset). emoji: drawings of three vendors
in fourteen classes, whose domains are the vendors (google: Noto Emoji, fluent: Fluent Emoji, twitter: Twemoji); what
an emoji shows lies in one split only, whatever the vendor. Built by `recipes/demo`; licences beside them.
"""

from __future__ import annotations

import os
from pathlib import Path

from vlprompt.errors import DataError

FOLDER = Path(__file__).parent.parent / "assets" / "demo"
FILES = {"demo": "groceries.zip", "emoji": "emoji.zip"}


def packaged_name(path: str | os.PathLike[str]) -> str | None:
    """The name of the packaged pictures that `path` means ("demo", "emoji:google"); None for a file or folder."""
    name = path.partition(":")[0] if isinstance(path, str) else ""
    return name if name in FILES and not Path(path).exists() else None


def packaged_path(name: str) -> Path:
    """The archive of those pictures; DataError when the installation lacks it."""
    path = FOLDER / FILES[name]
    if not path.is_file():
        raise DataError(f"{path}: the {name} pictures are missing; install vlprompt again")
    return path
