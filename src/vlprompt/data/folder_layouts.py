"""Layouts: what the folders of a data set mean (splits, domains, classes), read off its paths alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from vlprompt.data.list_files import SPLITS, Row
from vlprompt.data.pictures import EXTENSIONS
from vlprompt.errors import DataError


def is_picture(path: str) -> bool:
    """Whether the name ends like a picture's."""
    dot = path.rfind(".")
    return dot > path.rfind("/") and path[dot:].lower() in EXTENSIONS


def common_folder(paths: Iterable[str]) -> str:
    """The folders, with a final `/`, that all pictures share above their class folders; "" when there is
    none.

    A folder called like a split is never taken for such a wrapping.
    """
    parts = [path.split("/") for path in paths]
    depth = 0
    while parts and all(len(path) > depth + 2 and path[depth] == parts[0][depth] for path in parts):
        if parts[0][depth].lower() in SPLITS:
            break
        depth += 1
    return "".join(f"{part}/" for part in parts[0][:depth]) if parts else ""


@dataclass(frozen=True)
class Layout:
    """rows: the pictures. notices: what was left out or guessed. holders: folders that hold class folders."""

    rows: list[Row]
    notices: list[str]
    holders: set[str]


def read_layout(pictures: list[str]) -> Layout:
    """What the paths of pictures in class folders, optionally below split and domain folders, mean.

    Recognised below folders that all pictures share: SPLIT/CLASS/..., DOMAIN/CLASS/... (every first-level
    folder holds the same class folders), SPLIT/DOMAIN/CLASS/..., and CLASS/... with any folders inside a
    class. Raises DataError when the pictures lie in no folder.
    """
    notices: list[str] = []
    root = common_folder(pictures)
    inside = {path: path[len(root) :].split("/") for path in pictures}
    loose = [path for path, parts in inside.items() if len(parts) < 2]
    if len(loose) == len(pictures):
        raise DataError(
            "the pictures lie in no class folders; make one folder per class, or write a CSV of path,label"
        )
    if loose:
        notices.append(f"{len(loose)} pictures outside class folders left out, for example {loose[0]}")
        for path in loose:
            del inside[path]

    splits: dict[str, str | None] = dict.fromkeys(inside)
    if split_folders := _split_folders(inside.values()):
        others = [path for path, parts in inside.items() if parts[0] not in split_folders]
        for path in others:
            del inside[path]
        if others:
            notices.append(
                f"{len(others)} pictures outside the train, val and test folders left out: {others[0]}, ..."
            )
        for path, parts in inside.items():
            splits[path] = SPLITS[parts.pop(0).lower()]
    with_domains = _has_domains(inside.values())
    if with_domains:
        domains = sorted({parts[0] for parts in inside.values()})
        notices.append(f"the first level of folders is taken as domains: {', '.join(domains)}")
    elif any(len(parts) > 2 for parts in inside.values()):
        notices.append(
            "some classes hold further folders; their pictures belong to the class of the outer folder"
        )
    level = 1 if with_domains else 0
    rows = [
        Row(path, parts[level], splits[path], parts[0] if with_domains else None)
        for path, parts in inside.items()
    ]
    holders = {path.removesuffix("/".join(parts[level:])).removesuffix("/") for path, parts in inside.items()}
    return Layout(rows, notices, holders)


def empty_classes(layout: Layout, folders: Iterable[str]) -> list[str]:
    """Names of folders that stand beside class folders but hold no picture in any split or domain."""
    full = {row.label for row in layout.rows}
    beside = (folder.rpartition("/") for folder in folders)
    return sorted({name for holder, _, name in beside if holder in layout.holders and name not in full})


def _split_folders(paths: Iterable[list[str]]) -> set[str]:
    """First-level folders that are splits: called so, and holding class folders only."""
    least: Counter[str] = Counter()
    for parts in paths:
        least[parts[0]] = min(least.get(parts[0], 99), len(parts))
    named = {folder for folder, depth in least.items() if folder.lower() in SPLITS and depth >= 3}
    kinds = {SPLITS[folder.lower()] for folder in named}
    return (
        named
        if len(named) == len(least) or {"train", "test"} <= kinds or {"train", "val"} <= kinds
        else set()
    )


def _has_domains(paths: Iterable[list[str]]) -> bool:
    classes: dict[str, set[str]] = defaultdict(set)
    for parts in paths:
        if len(parts) < 3:
            return False
        classes[parts[0]].add(parts[1])
    sets = list(classes.values())
    return len(sets) >= 2 and len(sets[0]) >= 2 and all(found == sets[0] for found in sets)
