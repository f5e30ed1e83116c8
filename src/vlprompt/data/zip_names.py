"""Names of entries in zip archives that do not say their encoding."""

from __future__ import annotations

import struct
import unicodedata
import zipfile
from collections.abc import Sequence

UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # an extra field with the name in UTF-8
# what programs write that do not use UTF-8; of equals the first is taken
ENCODINGS = {
    "gb18030": "Chinese",
    "cp932": "Japanese",
    "cp949": "Korean",
    "big5": "Chinese",
    "cp1251": "Cyrillic",
    "cp866": "Cyrillic",
    "cp1252": "Western",
    "cp437": "Western",
    "cp850": "Western",
    "cp1253": "Greek",
    "cp737": "Greek",
    "cp1250": "Central European",
    "cp852": "Central European",
}


def read_names(infos: Sequence[zipfile.ZipInfo]) -> tuple[list[str], str]:
    """The name of each entry; and a sentence for the user where their encoding was a guess.

    Marked names are UTF-8. Others are tried as UTF-8 together, since programs write all in one encoding, and then as
    the encoding in which they are made of the most usual letters.
    """
    names = [info.filename for info in infos]
    unmarked: dict[int, bytes] = {}
    for at, info in enumerate(infos):
        if info.flag_bits & UTF8_FLAG or info.filename.isascii():
            continue
        if (told := _unicode_path(info)) is not None:
            names[at] = told
            continue
        try:
            unmarked[at] = info.orig_filename.encode("cp437")
        except UnicodeEncodeError:
            continue
    if not unmarked:
        return names, ""
    encoding = _encoding(list(unmarked.values()))
    for at, raw in unmarked.items():
        names[at] = raw.decode(encoding, "replace").replace("\0", "")
    if encoding == "utf-8":
        return names, ""
    example = "".join(letter if letter.isprintable() else "?" for letter in names[next(iter(unmarked))])
    return names, (
        f"the archive does not say the encoding of its names; they are read as {ENCODINGS[encoding]} ({encoding}), such as "
        f'"{example}": if that is wrong, pack the folder again with UTF-8 names'
    )


def _unicode_path(info: zipfile.ZipInfo) -> str | None:
    rest = info.extra
    while len(rest) >= 4:
        kind, size = struct.unpack("<HH", rest[:4])
        data, rest = rest[4 : 4 + size], rest[4 + size :]
        if kind == _UNICODE_PATH and data[:1] == b"\x01":
            try:
                return data[5:].decode("utf-8")
            except UnicodeDecodeError:
                return None
    return None


def _encoding(raws: Sequence[bytes]) -> str:
    joined = b"/".join(raws)
    try:
        joined.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        pass
    return max(ENCODINGS, key=lambda encoding: _usual(raws, encoding))  # the first of equals


def _usual(raws: Sequence[bytes], encoding: str) -> float:
    """How usual the letters are that the names would be made of, 0 to 1 for each byte beyond ASCII."""
    total = count = 0.0
    seen: set[str] = set()
    for raw in raws:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            return -1.0
        for at, letter in enumerate(text):
            if letter.isascii():
                continue
            around = text[max(at - 1, 0) : at], text[at + 1 : at + 2]
            size = len(letter.encode(encoding))
            count += size
            total += size * _weight(letter, *around)
            seen.add(letter)
    if not count:
        return 0.0
    # the bytes of Korean lie among those of usual Chinese, but few Chinese words lie all among those of Korean
    korean = all(_is_common_korean(letter) for letter in seen)
    return total / count + (0.01 * min(len(seen), 10) if korean else 0.0)


def _weight(letter: str, before: str, after: str) -> float:
    """How usual a letter is beside its neighbours: others seldom stand in a word of Latin letters."""
    code = ord(letter)
    if code >= 0x370 and any(one.isascii() and one.isalpha() for one in (before, after)):
        return 0.3
    if 0x3041 <= code <= 0x30FC:  # kana
        return 1.0
    if 0xAC00 <= code <= 0xD7A3:  # Hangul, whose bytes are those of usual Chinese characters too
        return 0.95 if _is_common_korean(letter) else 0.3
    if 0x4E00 <= code <= 0x9FFF:
        return 0.98 if _is_common_chinese(letter) else 0.45
    if 0x0400 <= code <= 0x045F or 0x0386 <= code <= 0x03CE:  # Cyrillic; Greek, which has fewer users
        fits = letter.islower() or not before.islower()
        return (0.9 if code >= 0x400 else 0.88) if fits else 0.3
    if unicodedata.category(letter) in ("Lu", "Ll") and code < 0x250:
        if not letter.islower() and before.isalpha():
            return 0.4
        # words of accented letters alone are no Latin, but what another alphabet looks like
        return 0.85 if any(one.isascii() and one.isalpha() for one in (before, after)) else 0.6
    return 0.1


def _is_common_korean(letter: str) -> bool:
    """Whether it is one of the 2,350 syllables in use."""
    try:
        return "\uac00" <= letter <= "\ud7a3" and len(letter.encode("euc_kr")) == 2
    except UnicodeEncodeError:
        return False


def _is_common_chinese(letter: str) -> bool:
    """Whether it is of the first level of GB 2312, or of Big5, which are ordered by use."""
    for encoding, last in (("gb2312", 0xD7), ("big5", 0xC6)):
        try:
            raw = letter.encode(encoding)
        except UnicodeEncodeError:
            continue
        if len(raw) == 2 and raw[0] <= last:
            return True
    return False
