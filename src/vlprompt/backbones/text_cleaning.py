"""Text cleaning that CLIP does before it tokenizes.

CLIP runs ftfy over the text, unescapes HTML twice, collapses white space and lower-cases.
With ftfy installed this is exactly that. Without it the commonest repairs are done here: UTF-8
that was read as Windows-1252, curly quotes, full-width letters, ligatures, control characters,
composed accents. The two differ only on rarer damage (text garbled twice, or garbled in part).
"""

from __future__ import annotations

import html
import re
import string
import unicodedata
from collections.abc import Callable

try:
    import ftfy
except ImportError:
    ftfy = None  # type: ignore[assignment]

_WHITE_SPACE = re.compile(r"\s+")
_TERMINAL_ESCAPE = re.compile(r"\033\[((?:\d|;)*)([a-zA-Z])")
# What a program would not show: control characters but tab and line ends, marks of byte order and
# direction. The zero-width joiner stays, because emoji are built with it.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_QUOTES = {ord(c): "'" for c in "\u02bc\u2018\u2019\u201a\u201b"} | {
    ord(c): '"' for c in "\u201c\u201d\u201e\u201f"
}
_LIGATURES = {
    ord(c): unicodedata.normalize("NFKC", c)
    for c in "\u0132\u0133\u0149\u01f1\u01f2\u01f3\u01c4\u01c5\u01c6\u01c7\u01c8\u01c9\u01ca\u01cb\u01cc"
    "\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06"
}
_FULL_WIDTH = {c: unicodedata.normalize("NFKC", chr(c)) for c in (0x3000, *range(0xFF01, 0xFFF0))}
_FULL_WIDTH = {c: to for c, to in _FULL_WIDTH.items() if to != chr(c)}


def basic(text: str) -> str:
    """The text repaired and unescaped, without white space around it."""
    text = ftfy.fix_text(text) if ftfy is not None else repair(text)
    return html.unescape(html.unescape(text)).strip()


def single_spaces(text: str) -> str:
    """Repaired and unescaped, with single spaces: what open_clip does before other tokenizers than CLIP's."""
    return _WHITE_SPACE.sub(" ", basic(text)).strip()


def canonical(text: str) -> str:
    """Without punctuation, lower case, single spaces: what open_clip does before SigLIP's tokenizers."""
    text = basic(text).replace("_", " ").translate(_WITHOUT_PUNCTUATION).lower()
    return " ".join(text.split())


def unpunctuated(text: str) -> str:
    """Lower case, without punctuation, single spaces: what transformers does before SigLIP's tokenizer."""
    return _WHITE_SPACE.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).strip()


def clean(text: str) -> str:
    """The text as CLIP's tokenizer sees it: repaired, unescaped, single spaces, lower case."""
    text = ftfy.fix_text(text) if ftfy is not None else repair(text)
    text = html.unescape(html.unescape(text))
    return _WHITE_SPACE.sub(" ", text).strip().lower()


def repair(text: str) -> str:
    """What stands in for `ftfy.fix_text` where ftfy is not installed."""
    if text.isascii() and "&" not in text and text.isprintable():
        return text
    for _ in range(4):
        before = text
        if "<" not in text:  # with a tag in it the text may be HTML on purpose
            text = html.unescape(text)
        text = _undo_misread_utf8(text)
        text = text.translate(_LIGATURES).translate(_FULL_WIDTH).translate(_QUOTES)
        text = _TERMINAL_ESCAPE.sub("", text)
        text = _CONTROL.sub("", text)
        text = unicodedata.normalize("NFC", text)
        if text == before:
            break
    return text


def _undo_misread_utf8(text: str) -> str:
    """Turns "cafÃ©" into "café": UTF-8 bytes that were read as Windows-1252 or Latin-1.

    Ordinary accented text is no valid UTF-8 when written in those encodings, so it stays.
    """
    if text.isascii():
        return text
    for encoding in ("cp1252", "latin-1"):
        try:
            return text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return text


# What families do to texts before they are tokenized; names as in open_clip, where it has them.
CLEANING: dict[str, Callable[[str], str] | None] = {
    "": None,
    "whitespace": single_spaces,
    "lower": clean,
    "canonicalize": canonical,
    "unpunctuated": unpunctuated,
    "lower_alone": str.lower,
}
