"""Text to token ids and back: CLIP's byte-pair vocabulary, or any `tokenizer.json`.

A tokenizer here adds the start token (if its model has one) and the end token and nothing else: no padding (the towers
see to theirs), and never a silent cut: a text that does not fit is an error that names it.
Source of CLIP's rules: `simple_tokenizer.py` of https://github.com/openai/CLIP.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlprompt.backbones.text_cleaning import CLEANING
from vlprompt.backbones.text_cleaning import clean as clips_cleaning
from vlprompt.backbones.tokenizer_limits import check_steps, run_safely
from vlprompt.errors import BackboneError, OptionError
from vlprompt.files import parse_json, read_file, read_json

if TYPE_CHECKING:
    import tokenizers

START, END = "<|startoftext|>", "<|endoftext|>"
# The published pattern. It tries the special tokens first at each position only, so that "!<|endoftext|>"
# is punctuation and a word, not a special token.
WORDS = r"(?i)<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


MOST = 256 << 20  # bytes of a tokenizer.json; those of large vocabularies have some 30 MB


class Tokenizer:
    """Token ids of texts, with a start and an end token.

    start_id: None where texts begin without one. pad_id: what towers that attend to padding fill rows with. context_length: most ids that a text may have, start and end included.
    vocabulary: number of ids. fingerprint: hash of everything that decides the ids.
    """

    def __init__(
        self,
        core: tokenizers.Tokenizer,
        *,
        start_id: int | None,
        end_id: int,
        context_length: int = 77,
        prepare: Callable[[str], str] | None = None,
        clip_rules: bool = False,
        fingerprint: str,
        pad_id: int = 0,
    ) -> None:
        self._core = core
        self._prepare = prepare
        self._clip_rules = clip_rules
        self.start_id = start_id
        self.end_id = end_id
        self.pad_id = pad_id
        self.context_length = context_length
        self.vocabulary = core.get_vocab_size(with_added_tokens=True)
        self.fingerprint = hashlib.sha256(
            f"{fingerprint} {start_id} {end_id} {context_length}".encode()
        ).hexdigest()

    def encode(self, text: str) -> list[int]:
        """[start] + tokens of the text + [end]. Raises OptionError if they are too many."""
        ids = [*self.start, *self.ids(text), self.end_id]
        if len(ids) > self.context_length:
            raise OptionError(
                f"text too long for this backbone: {len(ids)} tokens with start and end, at most "
                f'{self.context_length}: "{text}"'
            )
        return ids

    @property
    def start(self) -> tuple[int, ...]:
        """What stands before a text: the start token, or nothing."""
        return () if self.start_id is None else (self.start_id,)

    def encode_many(self, texts: Iterable[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def count(self, text: str) -> int:
        """Number of tokens of a text, without start and end."""
        return len(self.ids(text))

    def whole_words(self) -> dict[int, str]:
        """Id -> word for tokens of at least two letters that end a word (CLIP) or begin one (other vocabularies).

        These are all words that are one token, and pieces that no vocabulary tells from words.
        """
        names = self._core.get_vocab(with_added_tokens=False)
        marked = any(name.endswith("</w>") for name in names)
        continued = any(name.startswith("##") for name in names)  # WordPiece marks what continues a word
        found = {}
        for name, number in names.items():
            if marked:  # asked first: CLIP's vocabulary holds "##" as a text like any other
                word = name.removesuffix("</w>") if name.endswith("</w>") else ""
            elif continued:
                word = "" if name.startswith("##") else name
            else:  # SentencePiece and byte-level vocabularies mark the beginning
                word = name[1:] if name[:1] in "\u2581\u0120" else ""
            if len(word) > 1 and word.isascii() and word.isalpha():
                found[number] = word
        return found

    def end_position(self, ids: Sequence[int]) -> int:
        """Index of the last token of a text: the first end token."""
        return list(ids).index(self.end_id)

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text of ids; start and end tokens are left out."""
        kept = [i for i in ids if i not in (self.start_id, self.end_id)]
        if (
            self._core.token_to_id("a</w>") is None
        ):  # not in the manner of CLIP: bytes, and marks at word ends
            return self._core.decode(kept)
        characters = "".join(self._core.id_to_token(i) or "" for i in kept)
        spaced = characters.replace("</w>", " ")
        to_byte = {c: b for b, c in _byte_characters().items()}
        return (
            b"".join(bytes([to_byte[c]]) if c in to_byte else c.encode() for c in spaced)
            .decode("utf-8", errors="replace")
            .strip()
        )

    def ids(self, text: str) -> list[int]:
        """Tokens of the text alone."""
        if self._prepare is not None:
            text = self._prepare(text)
        if self._clip_rules and (START in text or END in text):
            return self._ids_with_special_tokens(text)
        return self._encoded(text)

    def _encoded(self, text: str) -> list[int]:
        found: list[int] = run_safely(
            "of this backbone", lambda: self._core.encode(text, add_special_tokens=False).ids
        )
        return found

    def _ids_with_special_tokens(self, text: str) -> list[int]:
        """The literal special tokens inside a text become their ids, as in the published code."""
        special = {START: self.start_id or 0, END: self.end_id}
        ids: list[int] = []
        done = 0
        for _, (begin, stop) in _word_splitter().pre_tokenize_str(text):
            if text[begin:stop] in special:
                ids += self._encoded(text[done:begin])
                ids.append(special[text[begin:stop]])
                done = stop
        return ids + self._encoded(text[done:])


def clip_tokenizer(context_length: int = 77) -> Tokenizer:
    """CLIP's own tokenizer, from the merges that come with this package; built once per length."""
    return _clip_tokenizer(context_length)


@lru_cache(maxsize=4)
def _clip_tokenizer(context_length: int) -> Tokenizer:
    from tokenizers import Tokenizer as Core
    from tokenizers import models, pre_tokenizers

    merges, vocabulary = clip_merges(), clip_vocabulary()
    core = Core(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [_word_splitter(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return Tokenizer(
        core,
        start_id=vocabulary[START],
        end_id=vocabulary[END],
        context_length=context_length,
        prepare=clips_cleaning,
        clip_rules=True,
        fingerprint=f"clip {_hash(vocabulary)}",
    )


def tokenizer_from_json(
    path: Path,
    *,
    start_id: int | None = None,
    end_id: int | None = None,
    context_length: int = 77,
    clean: str = "",
    ends: bool = True,
) -> Tokenizer:
    """A tokenizer from a `tokenizer.json` file; CLIP's own vocabulary gets CLIP's own rules.

    Start and end are what the file itself puts around a text (or behind it), else CLIP's two special tokens, else
    start_id and end_id. clean: of `text_cleaning.CLEANING`. ends: if not, padding stands for the end token.
    Raises BackboneError.
    """
    from tokenizers import Tokenizer as Core

    try:
        text = read_file(path, MOST).decode()
        held = parse_json(text)  # refuses what is nested without end
        check_steps(held)
        canonical = json.dumps(held, sort_keys=True)
        core = run_safely(path, lambda: Core.from_str(text))
    except BackboneError:
        raise
    except Exception as error:  # damaged files raise whatever they happen to hit
        raise BackboneError(f"cannot read tokenizer {path}: {error}") from error
    vocabulary = core.get_vocab(with_added_tokens=True)
    if vocabulary == clip_vocabulary():
        return clip_tokenizer(context_length)
    pad = pad_id(core, path.parent)
    core.no_padding()
    core.no_truncation()
    around = run_safely(path, lambda: core.encode("").ids)
    start: int | None
    end: int | None
    if len(around) in (1, 2):
        start, end = around[0] if len(around) == 2 else None, around[-1]
    else:
        start, end = vocabulary.get(START, start_id), vocabulary.get(END, end_id)
        if start is None or end is None or not {start, end} <= set(vocabulary.values()):
            raise BackboneError(
                f'tokenizer {path} has no tokens "{START}" and "{END}", and nothing names others'
            )
    return Tokenizer(
        core,
        start_id=start,
        end_id=end if ends else pad,
        context_length=context_length,
        prepare=CLEANING[clean],
        fingerprint=f"json {hashlib.sha256(canonical.encode()).hexdigest()}{f' {clean}' if clean else ''}",
        pad_id=pad,
    )


def pad_id(core: tokenizers.Tokenizer, folder: Path) -> int:
    """The token that rows are filled with: as the file says, or the configuration beside it, or by its usual names."""
    if core.padding is not None:
        return int(core.padding["pad_id"])
    stated = _stated(folder).get("pad_token")
    name = stated.get("content") if isinstance(stated, dict) else stated
    found = (core.token_to_id(str(one)) for one in (name, "<pad>", "[PAD]") if one)
    return next((number for number in found if number is not None), 0)


def _stated(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json says, if it is there. Raises BackboneError if it cannot be read."""
    file = folder / "tokenizer_config.json"
    if not file.is_file():
        return {}
    try:
        found = read_json(file)
    except (OSError, ValueError) as error:
        raise BackboneError(f"cannot read {file}: {error}") from error
    return found if isinstance(found, dict) else {}


def tokenizer_from_words(path: Path, *, context_length: int = 77) -> Tokenizer:
    """BERT's WordPiece from its `vocab.txt`, one word a line. Raises BackboneError for a file that is none."""
    from tokenizers import Tokenizer as Core
    from tokenizers import models, normalizers, pre_tokenizers

    try:
        words = read_file(path, MOST).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BackboneError(f"cannot read {path}: {error}") from error
    vocabulary = {word.strip(): i for i, word in enumerate(words)}
    lacking = [word for word in ("[CLS]", "[SEP]", "[UNK]", "[PAD]") if word not in vocabulary]
    if lacking:
        raise BackboneError(f"{path} is no vocabulary of BERT's: {', '.join(lacking)} is not in it")
    core = Core(models.WordPiece(vocabulary, unk_token="[UNK]"))
    stated = _stated(path.parent)
    core.normalizer = normalizers.BertNormalizer(lowercase=bool(stated.get("do_lower_case", True)))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return Tokenizer(
        core,
        start_id=vocabulary["[CLS]"],
        end_id=vocabulary["[SEP]"],
        context_length=context_length,
        fingerprint=f"words {_hash(vocabulary)} {stated.get('do_lower_case', True)}",
        pad_id=vocabulary["[PAD]"],
    )


# neither is kept: a tokenizer has copies of its own, and as Python's strings and pairs both are some 20 MB
def clip_merges() -> list[tuple[str, str]]:
    """The 48,894 merges, first one first."""
    packed = (files("vlprompt") / "assets" / "clip_vocabulary" / "merges.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").splitlines()
    return [(left, right) for left, right in (line.split() for line in lines)]


def clip_vocabulary() -> dict[str, int]:
    """Token -> id: 256 bytes, the same at the end of a word, one per merge, start, end."""
    characters = list(_byte_characters().values())
    tokens = characters + [c + "</w>" for c in characters] + ["".join(pair) for pair in clip_merges()]
    return {token: i for i, token in enumerate([*tokens, START, END])}


@lru_cache(maxsize=1)
def _byte_characters() -> dict[int, str]:
    """A printable character for each byte, in the order of CLIP's ids: printable bytes as themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


@lru_cache(maxsize=1)
def _word_splitter():  # type: ignore[no-untyped-def]  # the library has no types
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)


def _hash(vocabulary: dict[str, int]) -> str:
    return hashlib.sha256("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)).encode()).hexdigest()
