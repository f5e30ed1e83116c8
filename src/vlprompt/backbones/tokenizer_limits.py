"""What a `tokenizer.json` may ask of the library that runs it, so that a short text stays one.

Its steps rewrite a text one after another. Ten that each write ten letters for one make ten billion of it, and the library,
which is no Python, has no limit of its own. It also panics where others raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from vlprompt.errors import BackboneError

T = TypeVar("T")
MOST_GROWTH = 1000  # times that a text may become longer; SentencePiece's own steps make it 2 to 40 times
MOST_AROUND = 100  # tokens that are put around a text, and entries of each list of them
# steps that change nothing when they are done again
_ONCE = frozenset("NFC NFD NFKC NFKD Nmt Lowercase Strip StripAccents BertNormalizer".split())
_GROWTH_OF_A_MAP = (
    40.0  # what a precompiled map of characters makes of one, about; more than one of them is refused
)


def check_steps(found: Any) -> None:
    """ValueError for the JSON value of a tokenizer whose steps may make any amount of text, or of tokens around it."""
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    growth, maps = 1.0, 0
    for step in _steps(found.get("normalizer"), "normalizers"):
        kind = step.get("type")
        maps += kind == "Precompiled"
        growth *= _growth(step)
    for step in _steps(found.get("pre_tokenizer"), "pretokenizers"):
        growth *= 2.0 if step.get("type") == "ByteLevel" else 1.0
    if growth > MOST_GROWTH or maps > 1:
        raise ValueError("its steps make a text longer without end")
    left = [found.get("post_processor")]
    for value in left:
        if isinstance(value, list) and len(value) > MOST_AROUND:
            raise ValueError(f"more than {MOST_AROUND} tokens are put around a text")
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _growth(step: dict[str, Any]) -> float:
    """How many times longer a step makes a text at most."""
    kind = step.get("type")
    if kind in _ONCE:
        return 1.0
    if kind == "Precompiled":
        return _GROWTH_OF_A_MAP
    if kind == "Prepend":
        return 1.0 + len(str(step.get("prepend", ""))) / 10
    if kind == "Replace":
        new, pattern = len(str(step.get("content", ""))), step.get("pattern")
        text = pattern.get("String") if isinstance(pattern, dict) else None
        if isinstance(text, str) and text:
            return max(1.0, new / len(text))
        return 1.0 + new  # an expression may match nothing, between any two letters
    return 2.0  # ByteLevel writes two bytes for one; and what is not known


def _steps(value: Any, within: str) -> Iterator[dict[str, Any]]:
    left = [value]
    for step in left:
        if isinstance(step, dict):
            held = step.get(within)
            if isinstance(held, list):
                left += held
            else:
                yield step


def run_safely(what: Path | str, action: Callable[[], T]) -> T:
    """What an action of the library gives; BackboneError for whatever it raises, panics too, which are no Exception."""
    try:
        return action()
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BackboneError:
        raise
    except BaseException as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackboneError(f"tokenizer {what} cannot be used: {reason}") from error
