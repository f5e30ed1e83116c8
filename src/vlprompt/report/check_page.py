"""A page of what `vlprompt check` found, with the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlprompt.data.dataset import Dataset, Item
from vlprompt.errors import VlpromptError
from vlprompt.files import write_atomically
from vlprompt.report import html_pages as pages
from vlprompt.report.html_pages import Html, html
from vlprompt.report.thumbnails import thumbnail

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 100  # pictures of each kind


def write_check(found: Any, dataset: Dataset, path: str | Path) -> Path:
    """found: as `fitting.checking_data.check_data` gives it."""
    heading = f"Check of {dataset.name}"
    body = [
        f"<header><h1>{html(heading)}</h1><p>{found.pictures} pictures of {len(dataset.class_names)} classes, "
        f"{found.judged} judged by what the others teach.</p></header>",
        pages.notes(found.notices),
        _part(
            "Probably in the wrong class",
            [
                _card(
                    dataset,
                    [d.path],
                    f"{html(d.label)}",
                    f"looks like <b>{html(d.looks_like)}</b> ({100 * d.other:.0f} %)",
                )
                for d in found.doubts[:MOST]
            ],
        ),
        _part(
            "Almost the same, in two classes",
            [
                _card(dataset, [p.first, p.second], html(" and ".join(p.labels)), "")
                for p in found.contradictions[:MOST]
            ],
        ),
        _part(
            "Almost the same, in one class",
            [
                _card(dataset, [p.first, p.second], html(p.labels[0]), "")
                for p in found.pairs[:MOST]
                if not p.contradicts
            ],
        ),
    ]
    if found.broken:
        rows = [[path, reason] for path, reason in found.broken]
        body.append("<h2>Broken</h2>" + pages.table(["picture", "why"], rows, words=2))
    target = Path(path)
    write_atomically(target, pages.page(heading, Html("\n".join(body))).encode(errors="backslashreplace"))
    return target


def _part(title: str, cards: Sequence[str]) -> str:
    if not cards:
        return f"<h2>{html(title)}</h2><p>None.</p>"
    return f"<h2>{html(title)}</h2><div class=pictures>{''.join(cards)}</div>"


def _card(dataset: Dataset, paths: Sequence[str], label: str, text: str) -> str:
    shown = "".join(_image(dataset, path) for path in paths)
    names = "<br>".join(html(path) for path in paths)
    return f"<div class=picture>{shown}<div><b>{label}</b>{text}<br><small>{names}</small></div></div>"


def _image(dataset: Dataset, path: str) -> str:
    try:
        return f'<img src="{thumbnail(dataset.load(Item(path, 0)))}" alt="{html(path)}" loading=lazy>'
    except VlpromptError:
        return ""
