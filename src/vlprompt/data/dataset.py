"""Dataset: pictures with labels and splits, wherever they lie."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from vlprompt.data.pictures import open_picture
from vlprompt.errors import DataError, PictureError, nearest

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Item:
    """One picture. path: inside the data set, with `/`. label: index into the class names."""

    path: str
    label: int
    domain: str | None = None


class Readable(Protocol):
    """What a data set needs of the place where its pictures lie; see `vlprompt.data.sources`."""

    files: dict[str, int]

    def read(self, name: str) -> bytes: ...

    def identity(self, name: str) -> tuple[str, int, int] | None: ...

    def stamp(self, name: str) -> str: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Dataset:
    """Pictures with labels and splits.

    name: short name for tables. class_names: the words for prompts, by label. class_keys: the folder names or
    labels they come from. splits: items of "train", "val" and "test"; any of them may be missing. source:
    where the bytes lie. split_origin: "papers" and where it stands, "given", or how it was drawn. notices: what a
    user should know about how the data were read (skipped pictures, guesses, missing classes), one sentence each.
    origin: the arguments with which `open_dataset` opens it again; None for pictures that lie in memory.
    templates: the words that papers put around its class names, () where none are known. understood: how the pictures and
    their labels were found, in words that a person can check, such as "a folder for each class below train/ and test/".

    A data set may be pickled and used after a fork and from threads. As a context manager it closes its
    archive.
    """

    name: str
    class_names: tuple[str, ...]
    class_keys: tuple[str, ...]
    splits: dict[str, list[Item]]
    source: Readable = field(repr=False)
    split_origin: str = "given"
    notices: tuple[str, ...] = ()
    origin: dict[str, Any] | None = field(default=None, repr=False, compare=False)
    templates: tuple[str, ...] = ()
    understood: str = field(default="", compare=False)

    @property
    def split_kind(self) -> str:
        """Whose split this is: "papers" (figures compare with published ones), "incomplete" (theirs, but pictures
        are missing), "given" (the data set's own) or "drawn"."""
        kind = self.split_origin.partition(":")[0].partition(",")[0]
        return kind if kind in ("papers", "incomplete", "drawn") else "given"

    def items(self, split: str) -> list[Item]:
        """The items of one split; DataError when it is not there."""
        if split not in self.splits:
            raise DataError(f'{self.name}: there is no split "{split}"; {nearest(split, self.splits)}')
        return self.splits[split]

    def read(self, item: Item) -> bytes:
        """The bytes of one picture file. PictureError when they cannot be had."""
        try:
            return self.source.read(item.path)
        except PictureError:
            raise
        except DataError as error:
            raise PictureError(str(error)) from error

    def load(self, item: Item) -> Image:
        """One picture, RGB. PictureError when it is missing or broken."""
        return open_picture(self.read(item), name=item.path)

    def content_hash(self, item: Item) -> str:
        """Hash of the picture file's bytes (32 hex digits); reads the file."""
        return hash_of(self.read(item))

    @property
    def all_items(self) -> list[Item]:
        """The items of all splits, one after another."""
        return [item for items in self.splits.values() for item in items]

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of all domains, sorted; empty when the data set has none."""
        return tuple(sorted({item.domain for item in self.all_items if item.domain is not None}))

    def counts(self, split: str) -> list[int]:
        """Pictures per class in one split."""
        found = Counter(item.label for item in self.items(split))
        return [found[label] for label in range(len(self.class_names))]

    def only_domains(self, domains: str | Iterable[str]) -> Dataset:
        """The same data set with the pictures of some domains only; the classes stay all."""
        wanted = {domains} if isinstance(domains, str) else set(domains)
        for domain in sorted(wanted - set(self.domains)):
            known = nearest(domain, self.domains) if self.domains else "this data set has no domains"
            raise DataError(f'{self.name}: there is no domain "{domain}"; {known}')
        splits = {
            key: [item for item in items if item.domain in wanted] for key, items in self.splits.items()
        }
        return replace(self, splits={key: items for key, items in splits.items() if items})

    @cached_property
    def fingerprint(self) -> str:
        """Hash of class names, splits, paths, labels, domains and file sizes; not of every byte."""
        stamp = self.source.stamp
        record = [
            list(self.class_names),
            {
                key: sorted((item.path, item.label, item.domain or "", stamp(item.path)) for item in items)
                for key, items in sorted(self.splits.items())
            },
        ]
        return hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]

    def close(self) -> None:
        """Closes the archive, if there is one; reading a picture opens it again."""
        self.source.close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def equal_pictures(dataset: Dataset) -> list[tuple[tuple[str, Item], ...]]:
    """Groups of (split, item) whose files hold the same bytes, in more than one split or under more than one label.

    Cheap: only files of equal size are read, and those only where two of them differ in split or label. Empty files are
    no pictures.
    """
    by_size: dict[int, list[tuple[str, Item]]] = {}
    for split, items in dataset.splits.items():
        for item in items:
            by_size.setdefault(dataset.source.files.get(item.path, -1), []).append((split, item))
    groups: dict[tuple[int, str], dict[tuple[str, Item], None]] = {}
    for size, found in by_size.items():
        if size <= 0 or not _differ(found):
            continue
        for split, item in found:
            try:
                key = (size, dataset.content_hash(item))
            except PictureError:
                continue
            groups.setdefault(key, {})[split, item] = None
    return [tuple(group) for group in groups.values() if _differ(list(group))]


def _differ(found: Sequence[tuple[str, Item]]) -> bool:
    return len({split for split, _ in found}) > 1 or len({item.label for _, item in found}) > 1


def hash_of(data: bytes) -> str:
    """Hash of a file's bytes, 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def duplicates_across_splits(dataset: Dataset) -> list[tuple[tuple[str, str], ...]]:
    """Groups of (split, path) whose files hold the same bytes in more than one split: test figures are too good then."""
    groups = ([(split, item.path) for split, item in group] for group in equal_pictures(dataset))
    return [tuple(group) for group in groups if len({split for split, _ in group}) > 1]


def equal_notices(dataset: Dataset) -> list[str]:
    """Sentences about equal pictures in two splits, and under two labels."""
    groups = equal_pictures(dataset)
    across = [
        tuple((split, item.path) for split, item in group)
        for group in groups
        if len({split for split, _ in group}) > 1
    ]
    said = [text] if (text := duplicate_notice(across)) else []
    twice = [group for group in groups if len({item.label for _, item in group}) > 1]
    if twice:
        first: dict[int, str] = {}
        for _, item in twice[0]:
            first.setdefault(item.label, item.path)
        example = " = ".join(
            f"{dataset.class_names[label]}: {path}" for label, path in list(first.items())[:2]
        )
        said.append(
            f"the same picture lies in two classes, {len(twice)} times ({example}); only one can be right"
        )
    return said


def duplicate_notice(groups: Sequence[tuple[tuple[str, str], ...]]) -> str | None:
    """A sentence about the groups that `duplicates_across_splits` found; None when there are none."""
    if not groups:
        return None
    first: dict[str, str] = {}  # a picture of each split: the group may hold several of one
    for split, path in groups[0]:
        first.setdefault(split, path)
    example = " = ".join(f"{split}: {path}" for split, path in list(first.items())[:2])
    found = f"equal pictures lie in more than one split, {len(groups)} times ({example})"
    return f"{found}; test figures will be too good"
