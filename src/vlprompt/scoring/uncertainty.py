"""How far an accuracy may lie from the truth, because it was measured on few pictures.

The interval is Wilson's: for k of n right, the shares p for which k is within z standard deviations of n p. It stays
within 0 and 100 and is right on average also near the ends and for few pictures.
Source: Wilson, JASA 1927; Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion", 2001.
"""

from __future__ import annotations

import math

Z = 1.959964  # 95 %
WIDE = 3.0  # points to either side from which on an accuracy is never printed alone


def wilson(correct: int, count: int) -> tuple[float, float]:
    """(low, high) in per cent, 95 %; (0, 100) of no pictures."""
    if count <= 0:
        return 0.0, 100.0
    share, z2 = correct / count, Z * Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def interval_text(correct: int, count: int, always: bool = False) -> str:
    """`52 to 91`, per cent; "" where the pictures are so many that the digits can be trusted, unless it is always wanted."""
    low, high = wilson(correct, count)
    return f"{low:.0f} to {high:.0f}" if always or high - low >= 2 * WIDE else ""


def accuracy_text(correct: int, count: int, digits: int = 2) -> str:
    """`75.00 % (95 % sure: 47 to 91)`, or the number alone where the pictures are many."""
    text, spread = f"{100 * correct / max(1, count):.{digits}f} %", interval_text(correct, count)
    return f"{text} (95 % sure: {spread})" if spread else text
