"""Fonts of figures, also for class names in other scripts, and how much of a name fits into a figure."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from vlprompt.plain_text import printable

# tried letter by letter in this order, as far as they are installed
OTHERS = tuple(
    "Noto Sans|Noto Sans CJK SC|Noto Sans CJK JP|Noto Sans CJK KR|Noto Sans SC|Noto Sans JP|Noto Sans KR|Source Han Sans SC|"
    "WenQuanYi Zen Hei|WenQuanYi Micro Hei|Droid Sans Fallback|Microsoft YaHei|SimHei|PingFang SC|Heiti SC|Hiragino Sans|"
    "Yu Gothic|MS Gothic|IPAGothic|Malgun Gothic|Apple SD Gothic Neo|NanumGothic|Noto Sans Thai|Noto Sans Devanagari|"
    "Noto Sans Bengali|Noto Sans Tamil|Noto Sans Arabic|Noto Sans Hebrew|Noto Naskh Arabic|Nirmala UI|Leelawadee UI|"
    "Arial Unicode MS|Segoe UI|Unifont".split("|")
)

MOST_LETTERS = 1000  # of a name; further ones are not looked at


@lru_cache(maxsize=1)
def families() -> tuple[str, ...]:
    """The font families of a figure: matplotlib's own, and those for other scripts that are installed."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in OTHERS if name in installed))


@contextmanager
def without_complaints() -> Iterator[None]:
    """Letters that no installed font has are no fault of the figure: in SVG they are text, which the browser's fonts show."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*[Gg]lyph.*missing from", category=UserWarning)
        warnings.filterwarnings(
            "ignore", message=r"Matplotlib currently does not support .* natively", category=UserWarning
        )
        yield


def width(text: str, points: float) -> float:
    """Inches that a figure needs for the text, at a size in points."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=list(families()), size=points)
    with without_complaints():
        return float(RendererAgg(1, 1, 72).get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def shortened(name: str, *, inches: float = 2.0, points: float = 9.0) -> str:
    """A name of any length on one line of a figure, at most so wide; its middle is left out, because names that are
    long are often told apart by their ends."""
    whole = " ".join(printable(name[:MOST_LETTERS]).split())
    if width(whole, points) <= inches:
        return whole
    low, high = 0, len(whole)  # that many letters fit, and that many do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high) if width(_without_middle(whole, middle), points) <= inches else (low, middle)
        )
    return _without_middle(whole, low)


def _without_middle(text: str, letters: int) -> str:
    end = letters // 3
    return f"{text[: letters - end]}…{text[len(text) - end :]}"
