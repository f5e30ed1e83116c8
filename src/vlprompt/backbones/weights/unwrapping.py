"""Out of what training programs wrap their weights in: checkpoints, parallel and compiled modules, trainers' classes.

One reader for all files, by content: a state dict may lie under one of a few usual keys, and its names may have the
names of wrappers in them. What a checkpoint holds beside it (optimiser, epoch, ...) is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
KEYS = ("state_dict", "model_state_dict", "model")  # the first that is there counts
DEEPEST = 3  # one in the other
# DataParallel's and torch.compile's, as a whole component of a name; they may wrap the whole, a part, or both
_WRAPPED = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")
OWNER = "model."  # the attribute in which a trainer's class (Lightning's) keeps the network


def unwrapped(content: Any, kind: type[T]) -> dict[str, T]:
    """Everything of that kind (tensors) by name, without the names of wrappers; {} if there is nothing by name.

    No published network or prompt has a part that is called like a wrapper.
    """
    for _ in range(DEEPEST):
        inner = next((found for found in _candidates(content) if _holds(found, kind)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        return {}
    named = {_WRAPPED.sub("", str(n)): v for n, v in content.items() if isinstance(v, kind)}
    if named and all(name.startswith(OWNER) for name in named):
        named = {name.removeprefix(OWNER): value for name, value in named.items()}
    return named


def _candidates(content: Any) -> list[Any]:
    return [content[key] for key in KEYS if key in content] if isinstance(content, Mapping) else []


def _holds(content: Any, kind: type[Any], depth: int = DEEPEST) -> bool:
    """Whether something of that kind lies in it, directly or under a key."""
    if not isinstance(content, Mapping):
        return False
    if any(isinstance(value, kind) for value in content.values()):
        return True
    return depth > 0 and any(_holds(inner, kind, depth - 1) for inner in _candidates(content))
