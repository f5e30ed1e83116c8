"""The demo pictures: emoji of three vendors in some forty classes, part of the package.

Classes are Unicode subgroups of emoji ("mammal", "fruit", "musical instrument"), domains the vendors (google:
Noto Emoji, fluent: Fluent Emoji, twitter: Twemoji). What an emoji shows lies in one split only, whatever the
vendor. Built by `recipes/demo/build.py`; licences in `assets/demo/NOTICE.txt`.
"""

from __future__ import annotations

from pathlib import Path

from vlprompt.errors import DataError


def demo_path() -> Path:
    """The archive of demo pictures; DataError when the installation lacks it."""
    path = Path(__file__).parent.parent / "assets" / "demo" / "demo.zip"
    if not path.is_file():
        raise DataError(f"{path}: the demo pictures are missing; install vlprompt again")
    return path
