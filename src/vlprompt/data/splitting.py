"""Drawing train, val and test where a data set comes without them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from vlprompt.data.dataset import Item
from vlprompt.errors import OptionError

VAL_FRACTION, TEST_FRACTION = 0.2, 0.3


def draw_splits(
    items: Iterable[Item],
    *,
    seed: int = 1,
    val_fraction: float = VAL_FRACTION,
    test_fraction: float = TEST_FRACTION,
) -> dict[str, list[Item]]:
    """Splits every class (in every domain) by itself: 50 % train, 20 % val, 30 % test, as CoOp does.

    Pictures are ordered by a hash of the seed and their path, so that the draw is the same on every machine
    and adding a picture or a class moves few others. Every class keeps a training picture, and with two or
    more pictures a test picture. Items keep the order of their paths. OptionError for impossible fractions.
    """
    if not (0 <= val_fraction < 1 and 0 < test_fraction < 1 and val_fraction + test_fraction < 1):
        raise OptionError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} must leave pictures to train on; "
            f"the defaults are {VAL_FRACTION} and {TEST_FRACTION}"
        )
    groups: dict[tuple[int, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.label, item.domain or ""), []).append(item)
    splits: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
    for _, group in sorted(groups.items()):
        group.sort(key=lambda item: _place(seed, item.path))
        test = max(round(test_fraction * len(group)), 1 if len(group) > 1 else 0)
        val = min(round(val_fraction * len(group)), max(len(group) - test - 1, 0))
        splits["test"] += group[:test]
        splits["val"] += group[test : test + val]
        splits["train"] += group[test + val :]
    ordered = {key: sorted(found, key=lambda item: (item.label, item.path)) for key, found in splits.items()}
    return {key: found for key, found in ordered.items() if found}


def hold_out(items: Iterable[Item], fraction: float, *, seed: int = 1) -> tuple[list[Item], list[Item]]:
    """(kept, held out): a part of every class with two pictures or more, chosen as in `draw_splits`.

    Every class keeps one. Both keep the order of the items. OptionError for an impossible fraction.
    """
    if not 0 <= fraction < 1:
        raise OptionError(
            f"validation_fraction is {fraction}: expected a part of the pictures, from 0 to below 1"
        )
    groups: dict[int, list[Item]] = {}
    items = list(items)
    for item in items:
        groups.setdefault(item.label, []).append(item)
    held: set[Item] = set()
    for group in groups.values():
        count = min(max(1, round(fraction * len(group))), len(group) - 1) if fraction else 0
        held.update(sorted(group, key=lambda item: _place(seed, item.path))[:count])
    return [item for item in items if item not in held], [item for item in items if item in held]


def _place(seed: int, path: str) -> bytes:
    text = f"{seed}|{path}".encode(errors="surrogateescape")  # file names may be other than UTF-8
    return hashlib.blake2b(text, digest_size=16).digest()
