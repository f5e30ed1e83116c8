"""What a run takes for what: the most confused pairs and the surest and least sure mistakes, with pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vlprompt.report import html_pages as pages
from vlprompt.report.html_pages import Html, html
from vlprompt.report.what_can_be_shown import Evidence
from vlprompt.runs.predictions_file import Said

PAIRS = 6  # shown with pictures
PER_PAIR = 3  # pictures of each
CARDS = 8  # mistakes of either kind


def worst_pairs(said: Sequence[Said], most: int = PAIRS) -> list[tuple[str, str, list[Said]]]:
    """(is, taken for, its pictures), the most frequent pairs first."""
    groups: dict[tuple[str, str], list[Said]] = {}
    for one in said:
        if not one.right:
            groups.setdefault((one.true, one.predicted), []).append(one)
    ordered = sorted(groups.items(), key=lambda entry: -len(entry[1]))
    return [(true, other, rows) for (true, other), rows in ordered[:most]]


def sure_mistakes(evidence: Evidence, most: int = CARDS) -> list[Said]:
    """Wrong answers, the surest first."""
    return sorted((s for s in evidence.said if not s.right), key=lambda s: -evidence.sure(s))[:most]


def unsure_mistakes(evidence: Evidence, most: int = CARDS, without: Sequence[Said] = ()) -> list[Said]:
    """Wrong answers, the least sure first."""
    held = {s.path for s in without}
    return sorted((s for s in evidence.said if not s.right and s.path not in held), key=evidence.sure)[:most]


def pairs_part(evidence: Evidence) -> Html:
    """The most confused pairs: some of their pictures, and one that really is the other class."""
    pairs = worst_pairs(evidence.said)
    if not pairs:
        return Html("")
    counts = Counter(s.true for s in evidence.said)
    examples = {s.true: s for s in reversed(evidence.said) if s.right}
    cards = []
    for true, other, rows in pairs:
        shown = "".join(image(evidence, s, s.true) for s in rows[:PER_PAIR])
        example = examples.get(other)
        beside = image(evidence, example, other) if example is not None and shown else ""
        beside = f"<i>a real<br>{html(other)}</i>{beside}" if beside else ""
        share = f"{len(rows)} of {counts[true]}"
        cards.append(
            f"<div class=pair><p><b>{html(true)}</b> taken for <b>{html(other)}</b><span>{share}</span></p>"
            f"<div>{shown}{beside}</div></div>"
        )
    return Html(f"<div class=pairs>{''.join(cards)}</div>")


def mistakes_part(evidence: Evidence) -> Html:
    """Cards of the surest and the least sure mistakes."""
    sure = sure_mistakes(evidence)
    if not sure:
        return Html("")
    unsure = unsure_mistakes(evidence, without=sure)
    parts = ["<h3>Surest mistakes</h3>", _cards(evidence, sure)]
    if unsure:
        parts += ["<h3>Least sure mistakes</h3>", _cards(evidence, unsure)]
    return Html("".join(parts))


def _cards(evidence: Evidence, rows: Sequence[Said]) -> str:
    cards = []
    for s in rows:
        before = ""
        if s.zero_shot is not None and evidence.info.method != "zeroshot":
            kind = "good" if s.zero_shot == s.true else "bad"
            before = f"<br>zero-shot: <span class={kind}>{html(s.zero_shot)}</span>"
        said = f"<span class=bad>{html(s.predicted)}</span> {100 * evidence.sure(s):.0f} %"
        cards.append(
            f'<div class=picture title="{html(s.path)}">{image(evidence, s, s.true)}'
            f"<div><b>{html(s.true)}</b>said: {said}{before}</div></div>"
        )
    return f"<div class=pictures>{''.join(cards)}</div>"


def image(evidence: Evidence, said: Said, text: str) -> str:
    """An <img>, or nothing where there is no picture."""
    source = evidence.thumbnail(said.path)
    return f'<img src="{source}" alt="{html(text)}" title="{html(said.path)}" loading=lazy>' if source else ""


def missing_note(evidence: Evidence) -> Html:
    """Why there are no pictures, or not all of them."""
    if evidence.dataset is None and evidence.said:
        return Html(
            f"<p class=missing>Without pictures: {html(evidence.missing.get('dataset', 'they are not there'))}.</p>"
        )
    if "pictures" in evidence.missing:
        return Html(f"<p class=missing>{html(evidence.missing['pictures'])}.</p>")
    if "said" in evidence.missing and evidence.reported:
        return Html(
            f"<p class=missing>Single pictures cannot be shown: {html(evidence.missing['said'])}.</p>"
        )
    return pages.notes([])
