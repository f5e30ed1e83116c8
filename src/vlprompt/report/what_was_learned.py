"""What was learned, as far as it can be read: label tokens that moved, nearest words, where prompts look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlprompt.methods import facts_of
from vlprompt.report import html_pages as pages
from vlprompt.report.html_pages import Html, html
from vlprompt.report.nearest_words import Near, Vocabulary
from vlprompt.report.thumbnails import data_url, heat
from vlprompt.report.what_can_be_shown import Evidence
from vlprompt.runs.predictions_file import Said

if TYPE_CHECKING:
    from vlprompt.methods.base import Method

MOVED = 12  # classes
SINGLE = 16  # context tokens of a prompt
PROMPTS = 3  # of several prompts, or contexts per class
LOOKS = 6  # pictures with a heat map


def insides_part(evidence: Evidence) -> Html:
    """The section; empty for methods that learn no words and look at no patches."""
    run = evidence.run
    if run is None:
        what = evidence.missing.get("run", "the backbone is not there")
        facts = facts_of(evidence.info.method)
        if facts is not None and not facts.learns_words:
            return Html("")
        return Html(f"<h2>What was learned</h2><p class=missing>Not shown: {html(what)}.</p>")
    method = run.learned
    vocabulary = Vocabulary(run.backbone)
    parts = [moved_part(method, vocabulary), words_part(method, vocabulary), looks_part(evidence, method)]
    body = "".join(part for part in parts if part)
    return Html(f"<h2>What was learned</h2>{body}") if body else Html("")


def moved_part(method: Method, vocabulary: Vocabulary) -> Html:
    """LAMM: the names that moved most, with the words around them before and after."""
    from vlprompt.report.label_movement import label_tokens_of, movement

    lamm = label_tokens_of(method)
    if lamm is None:
        return Html("")
    found = movement(lamm, vocabulary, words_for=MOVED)
    rows = []
    for one in found[:MOVED]:
        token = one.token if one.token.lower() != one.name.lower() else ""
        arrived = {near.word for near in one.after} - {near.word for near in one.before}
        rows.append(
            [
                one.name,
                token,
                _words(one.before),
                _words(one.after, arrived),
                (f"{one.distance:.2f}", f"{one.distance:.5f}"),
                (f"{100 * one.share:.0f} %", f"{one.share:.5f}"),
            ]
        )
    median = sorted(one.share for one in found)[len(found) // 2]
    text = (
        f"LAMM learns the class names themselves. Half of the {len(found)} names moved by less than {100 * median:.0f} % "
        "of their own length; these moved most."
    )
    header = [
        "name",
        "its token",
        "nearest other words before",
        "after (new ones marked)",
        "moved by",
        "of its length",
    ]
    return Html(
        f"<h3>Class names that moved</h3><p>{html(text)}</p><div class=scroll>"
        f"{pages.table(header, rows, words=4)}</div>"
    )


def words_part(method: Method, vocabulary: Vocabulary) -> Html:
    """The words nearest to learned context tokens, and why not to read much into them."""
    context = method.learned_context()
    if context is None or not len(vocabulary):
        return Html("")
    prompts = context[None] if context.dim() == 2 else context
    gap = vocabulary.gap()
    rows = []
    for number, one in enumerate(prompts[:PROMPTS], start=1):
        for place, near in enumerate(vocabulary.nearest(one[:SINGLE]), start=1):
            label = f"{number}.{place}" if len(prompts) > 1 else str(place)
            rows.append([label, _words(near), f"{near[0].distance:.2f}" if near else ""])
    left = "" if len(prompts) <= PROMPTS else f" The first {PROMPTS} of {len(prompts)} contexts are shown."
    text = f"The vocabulary's words (and endings of words) nearest to each learned vector, with their distance (Euclidean).{left}"
    caution = (
        f"Do not read a sentence into them. Words lie about {gap:.2f} from their own nearest neighbour; a vector much "
        "farther away than that means no word at all, and whoever trains again gets other words."
    )
    table = pages.table(["token", "nearest words", "nearest at"], rows, words=2)
    return Html(
        f"<h3>Context tokens</h3><p>{html(text)}</p><p class=caution>{html(caution)}</p>"
        f"<details{' open' if len(rows) <= 8 else ''}><summary>{len(rows)} tokens</summary>"
        f"<div class=scroll>{table}</div></details>"
    )


def looks_part(evidence: Evidence, method: Method) -> Html:
    """CTP: where in the picture the prompts of the true and of the said class look."""
    from vlprompt.report.attention import looks, looks_at_places

    if not looks_at_places(method):
        why = method.facts.no_map
        return Html(f"<h3>Attention</h3><p>{html(why)}</p>" if why else "")
    chosen = _to_look_at(evidence)
    held = [(said, picture) for said in chosen if (picture := evidence.picture(said.path)) is not None]
    if not held:
        why = evidence.missing.get("dataset") or evidence.missing.get("said") or "there are no pictures"
        return Html(f"<h3>Attention</h3><p class=missing>No heat maps: {html(why)}.</p>")
    named = [
        (said, picture, name) for said, picture in held for name in dict.fromkeys((said.true, said.predicted))
    ]
    found = looks(method, [picture for _, picture, _ in named], [name for *_, name in named])
    cards: dict[str, list[str]] = {}
    for (said, _, _), look in zip(named, found, strict=True):
        images = cards.setdefault(
            said.path, [_image(data_url(look.crop.resize((144, 144))), said.true, "the picture")]
        )
        images.append(_image(data_url(heat(look.crop, look.weights)), f"heat map for {look.name}", look.name))
    boxes = "".join(
        f'<div class=look title="{html(path)}">{"".join(images)}</div>' for path, images in cards.items()
    )
    text = (
        "How much the prompt of a class looks at each patch; bright is much. Wrong answers first, with the maps of the "
        "true and of the said class. Patches of a transformer have seen the whole picture, so a bright one need not "
        "lie on what decided."
    )
    return Html(f"<h3>Where the prompts look</h3><p>{html(text)}</p><div class=looks>{boxes}</div>")


def _to_look_at(evidence: Evidence) -> list[Said]:
    """Some wrong answers and some right ones, each of another class."""
    wrong: dict[str, Said] = {}
    right: dict[str, Said] = {}
    for said in evidence.said:
        (right if said.right else wrong).setdefault(said.true, said)
    some = list(wrong.values())[: LOOKS // 2]
    taken = {said.true for said in some}
    others = [said for said in right.values() if said.true not in taken] or list(right.values())
    return some + others[: LOOKS - len(some)]


def _image(source: str, text: str, under: str) -> str:
    return f'<figure><img src="{source}" alt="{html(text)}"><figcaption>{html(under)}</figcaption></figure>'


def _words(near: Sequence[Near], marked: set[str] | None = None) -> Html:
    shown = []
    for one in near:
        word = html(one.word)
        shown.append(f"<mark>{word}</mark>" if marked and one.word in marked else word)
    return Html(", ".join(shown))
