"""HTML without a template engine: files of assets/pages filled in, and tables. Everything from outside is escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import vlprompt

FOLDER = Path(__file__).parent.parent / "assets" / "pages"


class Html(str):
    """Text that is HTML already; any other text is escaped where it is put into a page."""


def html(value: Any) -> Html:
    return value if isinstance(value, Html) else Html(escape(str(value)))


def fill(name: str, **parts: Any) -> Html:
    """A file of assets/pages with its $names replaced; KeyError for one that is missing."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    return Html(Template(text).substitute({key: html(value) for key, value in parts.items()}))


def page(title: str, body: Html) -> str:
    """A whole page, style and script included."""
    style, script = ((FOLDER / name).read_text(encoding="utf-8").strip() for name in ("style.css", "sort.js"))
    return fill(
        "page.html",
        title=title,
        body=body,
        style=Html(style),
        script=Html(script),
        version=vlprompt.__version__,
    )


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    words: int = 1,
    caption: str = "",
    sortable: bool = False,
    best: Sequence[int] = (),
) -> Html:
    """words: leading columns of text, the others are numbers on the right. best: rows to stand out.

    A cell may be a pair (shown, value to sort by).
    """
    heads = "".join(
        f"<th{'' if i < words else ' class=n'}>{html(name)}</th>" for i, name in enumerate(header)
    )
    lines = []
    for r, row in enumerate(rows):
        cells = []
        for i, cell in enumerate(row):
            shown, value = cell if isinstance(cell, tuple) else (cell, None)
            marks = "" if i < words else " class=n"
            marks += "" if value is None else f' data-value="{html(value)}"'
            cells.append(f"<td{marks}>{html(shown)}</td>")
        lines.append(f"<tr{' class=best' if r in best else ''}>{''.join(cells)}</tr>")
    above = f"<caption>{html(caption)}</caption>" if caption else ""
    kind = " class=sortable" if sortable else ""
    return Html(
        f"<table{kind}>{above}<thead><tr>{heads}</tr></thead><tbody>\n"
        + "\n".join(lines)
        + "\n</tbody></table>"
    )


def facts(title: str, values: Mapping[str, Any]) -> Html:
    """Names and values under a small heading."""
    rows = "\n".join(f"<tr><th>{html(key)}</th><td>{html(value)}</td></tr>" for key, value in values.items())
    return Html(f"<table class=facts><caption>{html(title)}</caption><tbody>\n{rows}\n</tbody></table>")


def number(value: str, text: str, *, main: bool = False, more: Any = "") -> Html:
    """One large figure. more: a remark behind the text."""
    kind = "number main" if main else "number"
    return Html(f'<div class="{kind}"><b>{html(value)}</b><span>{html(text)} {html(more)}</span></div>')


def swing(change: float) -> Html:
    """A change in per cent as a number and a bar to either side."""
    width = min(50.0, abs(change) / 2)
    side = "up" if change > 0 else "down"
    bar = f'<u class={side} style="width:{width:.1f}%"></u>' if change else ""
    return Html(f"<div class=swing><i>{bar}</i><span>{signed(change)}</span></div>")


def signed(change: float) -> str:
    return f"{change:+.1f}".replace("-", "−") if round(change, 1) else "0"


LARGEST, SMALLEST = 1.1, 9.0  # of a figure: how many times its own size; the smallest letters in pixels
POINT = 4 / 3  # pixels


def figure(svg: str, caption: str) -> Html:
    """As wide as the page, but hardly wider than drawn; where its smallest letters would become too small, it scrolls."""
    width = float(re.findall(r'viewBox="\S+ \S+ (\S+)', svg)[0])
    letters = min(map(float, re.findall(r"font-size: ([\d.]+)px", svg)), default=10.0)
    limits = f"max-width:{LARGEST * POINT * width:.0f}px;min-width:{math.ceil(SMALLEST / letters * width)}px"
    sized = svg.replace("<svg", f'<svg style="{limits}"', 1)
    below = f"<figcaption>{html(caption)}</figcaption>" if caption else ""
    return Html(f"<figure><div class=scroll>{sized}</div>{below}</figure>")


def notes(items: Sequence[Any]) -> Html:
    if not items:
        return Html("")
    return Html("<ul class=notes>" + "".join(f"<li>{html(item)}</li>" for item in items) + "</ul>")
