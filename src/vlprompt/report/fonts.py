"""Fonts of figures, also for class names in other scripts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

# tried letter by letter in this order, as far as they are installed
OTHERS = tuple(
    "Noto Sans|Noto Sans CJK SC|Noto Sans CJK JP|Noto Sans CJK KR|Noto Sans SC|Noto Sans JP|Noto Sans KR|Source Han Sans SC|"
    "WenQuanYi Zen Hei|WenQuanYi Micro Hei|Droid Sans Fallback|Microsoft YaHei|SimHei|PingFang SC|Heiti SC|Hiragino Sans|"
    "Yu Gothic|MS Gothic|IPAGothic|Malgun Gothic|Apple SD Gothic Neo|NanumGothic|Noto Sans Thai|Noto Sans Devanagari|"
    "Noto Sans Bengali|Noto Sans Tamil|Noto Sans Arabic|Noto Sans Hebrew|Noto Naskh Arabic|Nirmala UI|Leelawadee UI|"
    "Arial Unicode MS|Segoe UI|Unifont".split("|")
)


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
