"""Seals: whether a run was made by this person on this machine, so that the paths that it names may be opened.

A run from elsewhere can name any path, and a report shows the pictures that lie there. So fit adds to the place of
its pictures a check sum that nobody can make without a key, which lies in the home folder and goes nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Any

from vlprompt.files import read_file

_OF_CATALOG = re.compile(r"[a-z0-9_]+(:[\w-]+)?")
KEY, LENGTH = "seal.key", 32  # bytes


def sealed(origin: dict[str, Any] | None) -> str | None:
    """The check sum of the arguments with which a data set is opened; None where no key can be kept."""
    key = _key(made=True) if origin is not None else None
    return None if key is None else _sum(key, origin)


def is_sealed(origin: dict[str, Any] | None, seal: str | None) -> bool:
    """Whether `sealed` gave that seal, here."""
    key = _key(made=False) if origin is not None and seal else None
    return key is not None and seal is not None and hmac.compare_digest(_sum(key, origin), seal)


def openable(origin: dict[str, Any] | None, seal: str | None) -> dict[str, Any]:
    """What may be used of the arguments once somebody has said where the pictures lie: of a run from elsewhere, not
    the other places that it names (changes with pictures of their own, lists, files of classes)."""
    if is_sealed(origin, seal):
        return dict(origin or {})
    held = origin or {}
    kept: dict[str, Any] = {
        name: value for name, value in held.items() if isinstance(value, (int, float, type(None)))
    }
    named = held.get("path")
    if held.get("root") is not None and isinstance(named, str) and _OF_CATALOG.fullmatch(named):
        kept |= {"path": named, "root": held["root"]}  # a data set by its name, whose root is then said anew
    return kept


def _sum(key: bytes, origin: Any) -> str:
    text = json.dumps(origin, sort_keys=True, default=str)
    return hmac.new(key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:32]


def _key(made: bool) -> bytes | None:
    path = _folder() / KEY
    try:
        if made and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = path.with_name(f".{KEY}.{os.getpid()}.{secrets.token_hex(4)}")
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(LENGTH))
            try:
                os.link(part, path)  # whole, and the first one stays
            except FileExistsError:
                pass
            finally:
                part.unlink()
        key = read_file(path, 2 * LENGTH)
    except OSError:
        return None
    return key if len(key) == LENGTH else None


def _folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "vlprompt"
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "vlprompt"
    except RuntimeError:  # nobody's home
        return Path(os.devnull)
