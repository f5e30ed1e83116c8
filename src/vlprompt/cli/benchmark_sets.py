"""Benchmark data sets by name: which ones a protocol is run on, and what it is tested on beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlprompt.errors import OptionError

if TYPE_CHECKING:
    from vlprompt.data.dataset import Dataset

ALL = "all"  # the eleven data sets that papers average over


def data_words(protocol: str, path: str | None, source: str | None, root: str | None) -> list[str]:
    """What to open, one after another: PATH, or below a root names with commas between.

    Without PATH it is --source, and for the transfers below a root ImageNet, as in papers.
    """
    from vlprompt.data.catalog import ELEVEN
    from vlprompt.protocols import facts_of

    word = path or source or ("imagenet" if root is not None and facts_of(protocol).usual_targets else None)
    if word is None:
        raise OptionError(
            f"{protocol}: give the PATH of pictures, or a name of vlprompt data list and --root DIR"
        )
    if root is None:
        return [word]
    if word == ALL:
        return list(ELEVEN)
    return [part.strip() for part in word.split(",") if part.strip()]


def target_words(repeated: Sequence[str] | None, listed: str | None) -> list[str]:
    """Of --target, which may be given again, and of --targets with commas between."""
    return [*(repeated or ()), *(part.strip() for part in (listed or "").split(",") if part.strip())]


def named_targets(words: Sequence[str], root: str | None) -> dict[str, str | Dataset] | list[str | Dataset]:
    """Paths, or a mapping from names where some are given as NAME=PATH; below a root, names of the catalog."""
    pairs = [
        word.partition("=") if "=" in word and not Path(word).exists() else ("", "", word) for word in words
    ]
    opened = [(name, target(path, root)) for name, _, path in pairs]
    if not any(name for name, _ in opened):
        return [data for _, data in opened]
    return {name or (Path(data).stem if isinstance(data, str) else data.name): data for name, data in opened}


def target(word: str, root: str | None) -> str | Dataset:
    """A path as it is; below a root, what is no path is a name of the catalog."""
    if root is None or Path(word).exists():
        return word
    from vlprompt.data.opening import open_dataset

    return open_dataset(word, root=root)


def usual_targets(protocol: str, root: str | None, source: str) -> list[str]:
    """What papers test on after learning on ImageNet; [] for other protocols and sources."""
    from vlprompt.data.catalog import find
    from vlprompt.protocols import facts_of

    if root is None or find(source).name != "imagenet":
        return []
    return list(facts_of(protocol).usual_targets)
