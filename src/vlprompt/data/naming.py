"""Class names: from folder names and labels to the words that go into a prompt."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from vlprompt.errors import DataError, nearest

Classes: TypeAlias = Mapping[str, str] | Sequence[str] | str | Path

_NUMBER = re.compile(r"^\d+\s*[._-]\s*(?=\D)")  # 001.Black_footed_Albatross, 12_daisy
_WORDNET = re.compile(r"^n\d{8}[-_]+(?=.)")  # n02085620-Chihuahua
_CAMEL = re.compile(r"(?:[A-Z][a-z]{2,}){2,}")  # AnnualCrop, but neither McDonalds nor iPhone


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
    words = key.replace("_", " ")
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
        classes = read_classes(Path(classes).read_bytes(), keys, str(classes)) if _readable(classes) else {}
    if isinstance(classes, Mapping):
        for key in classes:
            if key not in names:
                raise DataError(f'classes: there is no class "{key}"; {nearest(key, names)}')
        names.update({key: " ".join(str(name).split()) for key, name in classes.items()})
    elif classes is not None:
        if len(classes) != len(keys):
            raise DataError(
                f"classes: {len(classes)} names for {len(keys)} classes; give one for each, in label order"
            )
        names = {key: " ".join(str(name).split()) for key, name in zip(keys, classes, strict=True)}
    _check(names)
    return tuple(names.values())


def _readable(path: str | Path) -> bool:
    if not Path(path).is_file():
        raise DataError(
            f"classes: {path} is no file; give the path of a text file with one class name a line"
        )
    return True


def _check(names: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for key, name in names.items():
        if not name:
            raise DataError(f'class "{key}" has an empty name; give it one with classes.txt or --classes')
        try:
            name.encode()
        except UnicodeEncodeError:  # from file names and labels that are no Unicode
            raise DataError(f"class {key!a} has a name that is no text; give it one with classes.txt or --classes") from None
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
    text = data.decode("utf-8-sig", errors="replace")
    lines = [
        line.strip()
        for line in re.split(r"\r\n|\r|\n", text)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    known = set(keys)
    for delimiter in ("\t", ","):
        try:
            rows = [row for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter) if row]
        except csv.Error as error:
            raise DataError(f"{name}: not readable as a list of classes ({error})") from error
        pairs = {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}
        if known & pairs.keys() and len(pairs) >= len(lines) - 1:
            return {key: value for key, value in pairs.items() if key in known}
    if len(lines) != len(keys):
        raise DataError(
            f"{name}: {len(lines)} lines for {len(keys)} classes; write one name a line in the order "
            f"{', '.join(list(keys)[:3])}, ..., or lines of folder, tab, name"
        )
    return lines
