"""Class names: from folder names and labels to the words that go into a prompt."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from vlprompt.data.sources import LARGEST_FILE
from vlprompt.data.tabular_text import decoded
from vlprompt.errors import DataError, nearest
from vlprompt.files import read_file

Classes: TypeAlias = Mapping[str, str] | Sequence[str] | str | Path

_NUMBER = re.compile(r"^\d+\s*[._-]\s*(?=\D)")  # 001.Black_footed_Albatross, 12_daisy
_WORDNET = re.compile(r"^n\d{8}[-_]+(?=.)")  # n02085620-Chihuahua
_KEY = re.compile(r"\d{1,15}|n\d{8}")  # of a class, that is no name
_SYNSET = re.compile(r"^(n\d{8})\s+(?=\S)")  # n01440764 tench
_CAMEL = re.compile(r"(?:[A-Z][a-z]{2,}){2,}")  # AnnualCrop, but neither McDonalds nor iPhone


def composed(text: str) -> str:
    """Text in Unicode's composed form (NFC): "A" with a following diaeresis, as a Mac writes file names, is "Ä" then.

    Names that are to be compared go through it; names of files on disk stay as they are.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def sorted_keys(keys: Iterable[str]) -> list[str]:
    """Class keys in label order: numbers by value when all are numbers, else by character."""
    unique = set(keys)
    if all(re.fullmatch(r"\d{1,15}", key) for key in unique):
        return sorted(unique, key=lambda key: (int(key), key))
    return sorted(unique)


def prettify(key: str) -> str:
    """One folder name as words: underscores become spaces, CamelCase of longer words is taken apart.

    Hyphens and capitals stay as they are, as in the published code.
    """
    words = composed(key).replace("_", " ")
    if _CAMEL.fullmatch(words):
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words)
    return " ".join(words.split())


def prettified(keys: Sequence[str]) -> list[str]:
    """The names of all classes; a leading number or WordNet id goes when every key has one."""
    bare = list(keys)
    for prefix in (_WORDNET, _NUMBER):
        if len(bare) > 1 and all(prefix.match(key) for key in bare):
            shorter = [prefix.sub("", key) for key in bare]
            if len(set(shorter)) == len(bare):
                bare = shorter
    return [prettify(key) or key for key in bare]


def class_names(keys: Sequence[str], classes: Classes | None = None) -> tuple[str, ...]:
    """The name of each class key, in order.

    classes: a mapping from key to name (others keep their own), a list of names in order, or the path of a
    file: one name a line in label order, or `key<TAB or comma>name` lines. Raises DataError for keys that do
    not exist, a wrong number of names, an empty name, and names that are equal up to capitals.
    """
    names = dict(zip(keys, prettified(keys), strict=True))
    if isinstance(classes, (str, Path)):
        classes = read_classes(_content(Path(classes)), keys, str(classes))
    if isinstance(classes, Mapping):
        same = {composed(key): key for key in keys}
        for key in classes:
            if composed(key) not in same:
                raise DataError(f'classes: there is no class "{key}"; {nearest(key, names)}')
        names.update({same[composed(key)]: _words(name) for key, name in classes.items()})
    elif classes is not None:
        if len(classes) != len(keys):
            raise DataError(
                f"classes: {len(classes)} names for {len(keys)} classes; give one for each, in label order"
            )
        names = {key: _words(name) for key, name in zip(keys, classes, strict=True)}
    _check(names)
    return tuple(names.values())


def _content(path: Path) -> bytes:
    try:
        return read_file(path, LARGEST_FILE)
    except OSError as error:
        raise DataError(
            f"classes: {path} cannot be read ({error.strerror or error}); give the path of a text file with one class name "
            "a line"
        ) from error


def _words(name: object) -> str:
    return composed(" ".join(str(name).split()))


def _check(names: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for key, name in names.items():
        if not name:
            raise DataError(f'class "{key}" has an empty name; give it one with classes.txt or --classes')
        try:
            name.encode()
        except UnicodeEncodeError:  # from file names and labels that are no Unicode
            raise DataError(
                f"class {key!a} has a name that is no text; give it one with classes.txt or --classes"
            ) from None
        other = seen.setdefault(name.casefold(), key)
        if other != key:
            raise DataError(
                f'classes "{other}" and "{key}" would both be called "{name}"; '
                "give one of them another name with classes.txt or --classes, or merge them"
            )


def read_classes(data: bytes, keys: Sequence[str], name: str) -> dict[str, str] | list[str]:
    """A classes file: names in label order, or a mapping when its first column holds class keys.

    A header line and, in files of pairs, lines of classes that the data set lacks are allowed.
    """
    pairs = _json_classes(data, name)
    if pairs is None:
        lines = _lines(data, name)
    elif isinstance(pairs, list):
        lines = pairs
    else:
        lines = [f"{key}\t{value}" for key, value in pairs.items()]
    known = {composed(key): key for key in keys}
    for split in (_tabs, _commas, _semicolons, _spaces):
        rows = split(lines, name)
        for at in (0, 1):  # the name may stand first: cat, 0
            found = {row[at].strip(): row[1 - at].strip() for row in rows if len(row) == 2}
            fits = len(found) >= len(lines) - 1 and (
                known.keys() <= found.keys() if at else known.keys() & found.keys()
            )
            if fits and at and all(name.isdigit() for name in found.values()):
                return {}  # numbers of the classes, which have their names
            if fits:
                return {known[key]: value for key, value in found.items() if key in known}
    if len(lines) != len(keys):
        numbers = [int(key) for key in keys if key.isdigit() and len(key) < 10]
        if len(numbers) == len(keys) and len(lines) > max(numbers):  # names of more classes, counted from 0
            return {key: lines[int(key)] for key in keys}
        if len(numbers) == len(keys) and len(lines) == max(numbers) and min(numbers) > 0:
            return {key: lines[int(key) - 1] for key in keys}
        raise DataError(
            f"{name}: {len(lines)} lines for {len(keys)} classes; write one name a line in the order "
            f"{', '.join(list(keys)[:3])}, ..., or lines of folder, tab, name"
        )
    return lines


def _json_classes(data: bytes, name: str) -> dict[str, str] | list[str] | None:
    """The names of a JSON file, {"0": "cat"} or ["cat", "dog"]; None for text that is none."""
    if data.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, dict) and all(isinstance(value, (str, int)) for value in found.values()):
        return {composed(str(key)): composed(str(value)) for key, value in found.items()}
    if isinstance(found, list) and all(isinstance(value, str) for value in found):
        return [composed(value) for value in found]
    raise DataError(f'{name}: expected names such as {{"0": "cat", "1": "dog"}} or ["cat", "dog"]')


def _tabs(lines: Sequence[str], name: str) -> list[list[str]]:
    return _cells(lines, "\t", name)


def _commas(lines: Sequence[str], name: str) -> list[list[str]]:
    return _cells(lines, ",", name)


def _semicolons(lines: Sequence[str], name: str) -> list[list[str]]:
    return _cells(lines, ";", name)


def _spaces(lines: Sequence[str], name: str) -> list[list[str]]:
    """A number and a name."""
    return [
        [number, words.strip()]
        for number, _, words in (line.partition(" ") for line in lines)
        if number.isdigit() and words
    ]


def read_names(data: bytes, name: str) -> tuple[str, ...]:
    """The names of a classes file, where no class keys are known to look for in it.

    One name a line in label order, or lines of key, tab, name, which are put in the order of their keys. A comma
    does as well behind numbers and WordNet ids, and may be a part of other names. DataError for other text.
    """
    lines = _lines(data, name)
    if not lines:
        raise DataError(f"{name}: there are no class names in it")
    if lines[0][0] in "{[":
        raise DataError(
            f"{name}: looks like JSON; write one name a line in label order, or lines of key, tab, name"
        )
    for delimiter in ("\t", ","):
        rows = _cells(lines, delimiter, name)
        numbered = [_KEY.fullmatch(row[0].strip()) is not None for row in rows]
        keyed = all(numbered[1:]) and (numbered[0] or len(rows) > 1) and all(len(row) > 1 for row in rows)
        if not keyed and not (delimiter == "\t" and any("\t" in line for line in lines)):
            continue
        rows = rows[1:] if keyed and not numbered[0] else rows  # without its header
        pairs = {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}
        if len(pairs) < len(rows):
            raise DataError(
                f"{name}: expected a key and a name on every line, and no key twice; put names with commas in quotes"
            )
        return tuple(pairs[key] for key in sorted_keys(pairs))
    return tuple(lines)


def _lines(data: bytes, name: str) -> list[str]:
    """Lines of a classes file without empty ones and remarks; a tab behind WordNet ids, if all have one.

    DataError for what is not UTF-8.
    """
    text = composed(decoded(data, name))
    if "\0" in text:
        raise DataError(f"{name}: is not UTF-8 text (it holds zero bytes); save it as UTF-8")
    lines = [line.strip() for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    keyed = [_SYNSET.sub(r"\1\t", line, count=1) for line in lines]  # as in CoOp's classnames.txt
    return keyed if all(map(_SYNSET.match, lines)) else lines


def _cells(lines: Sequence[str], delimiter: str, name: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter) if row]
    except csv.Error as error:
        raise DataError(f"{name}: not readable as a list of classes ({error})") from error
