"""Layouts: what the folders of a data set mean (splits, domains, classes), read off its paths alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vlprompt.data.labels_in_names import told_by_names
from vlprompt.data.list_files import Row
from vlprompt.data.naming import composed
from vlprompt.data.picture_files import heif_is_read
from vlprompt.data.pictures import EXTENSIONS
from vlprompt.data.split_names import FILLERS, SPLITS, UNLABELLED, split_name, splits_among
from vlprompt.errors import DataError

PARTS = frozenset(
    "part batch shard chunk images imgs image img pictures photos folder dir disk volume set".split()
)
TO_MEND = "make one folder per class, or write a CSV of path,label"
HEIF = frozenset({".heic", ".heif", ".hif"})


def ending(path: str) -> str:
    """The file's ending in small letters with its dot, or ""."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def is_picture(path: str) -> bool:
    """Whether the name ends like a picture's that can be read here."""
    found = ending(path)
    return found in EXTENSIONS or (found in HEIF and heif_is_read())


def common_folder(paths: Iterable[str]) -> str:
    """The folders, with a final `/`, that all pictures share above their class folders; "" when there is
    none.

    A folder called like a split is never taken for such a wrapping.
    """
    parts = [path.split("/") for path in paths]
    depth = 0
    while parts and all(len(path) > depth + 2 and path[depth] == parts[0][depth] for path in parts):
        if _plain_split(parts[0][depth]):
            break
        depth += 1
    return "".join(f"{part}/" for part in parts[0][:depth]) if parts else ""


def _plain_split(name: str) -> bool:
    found = split_name(name)
    return found is not None and not found.rest and found.split != UNLABELLED


@dataclass(frozen=True)
class Layout:
    """rows: the pictures. understood: how the folders were taken, in words. notices: what was left out or guessed.
    holders: folders that hold class folders."""

    rows: list[Row]
    understood: str
    notices: list[str]
    holders: set[str]


def read_layout(pictures: Sequence[str]) -> Layout:
    """What the paths of pictures in class folders, optionally below split and domain folders, mean.

    Recognised below folders that all pictures share: SPLIT/CLASS/..., DOMAIN/CLASS/... (every first-level
    folder holds the same class folders), SPLIT/DOMAIN/CLASS/..., CLASS/SPLIT/..., DOMAIN/SPLIT/CLASS/..., and CLASS/...
    with any folders inside a class. Folders inside a split that say nothing (train/images/CLASS, seg_train/seg_train/CLASS)
    are passed through, and a split without class folders is left out. Raises DataError when the pictures lie in no class folders.
    """
    pictures, notices = _without_unlabelled(pictures)
    root = common_folder(pictures)
    inside = {path: path[len(root) :].split("/") for path in pictures}
    loose = [path for path, parts in inside.items() if len(parts) < 2]
    if len(loose) == len(pictures):
        raise DataError(f"the pictures lie in no class folders{told_by_names(pictures)}; {TO_MEND}")
    if loose:
        notices.append(f"{len(loose)} pictures outside class folders left out, for example {loose[0]}")
        for path in loose:
            del inside[path]
    splits: dict[str, str | None] = dict.fromkeys(inside)
    below = ""
    if by_folder := _split_folders(inside.values()):
        notices += _take_splits(inside, splits, by_folder)
        below = f" below {_listed(f'{folder}/' for folder in _in_order(by_folder) if folder in _firsts(splits, root))}"
    elif _splits_are_second(inside.values()):
        for path, parts in inside.items():
            found = split_name(parts.pop(1))
            splits[path] = found and found.split
        below = f", divided by its folders {_listed(_in_order({s or '': s or '' for s in splits.values()}))}"
    with_domains = _has_domains(inside.values())
    if with_domains:
        domains = sorted({parts[0] for parts in inside.values()})
        called = [name for name in domains if _plain_split(name)]
        doubt = (
            f" ({', '.join(called)} is called like a split: if the others are splits too, call them train, val or test)"
            if called
            else ""
        )
        notices.append(f"the first level of folders is taken as domains: {', '.join(domains)}{doubt}")
    elif not by_folder and (called := sorted({p[0] for p in inside.values() if _plain_split(p[0])})):
        notices.append(
            f"{_listed(f'{name}/' for name in called)} counted as a class, though called like a split: pictures to test with "
            "lie in class folders below it, those to ask about elsewhere"
        )
    if not with_domains and any(len(parts) > 2 for parts in inside.values()):
        notices.append(
            "some classes hold further folders; their pictures belong to the class of the outer folder"
        )
    level = 1 if with_domains else 0
    rows = [
        Row(path, composed(parts[level]), splits[path], composed(parts[0]) if with_domains else None)
        for path, parts in inside.items()
    ]
    if parts_of_one := _parts_of_one({row.label for row in rows}):
        raise DataError(
            f"the folders {_listed(parts_of_one)} are parts of one set by their names, not classes; {TO_MEND}"
        )
    holders = {path.removesuffix("/".join(parts[level:])).removesuffix("/") for path, parts in inside.items()}
    kinds = "a folder for each class" + (" in each domain" if with_domains else "")
    return Layout(rows, kinds + below, notices, holders)


def _without_unlabelled(pictures: Sequence[str]) -> tuple[Sequence[str], list[str]]:
    """The pictures without those of folders beside class or split folders that are called unlabeled, predict, ..., and
    what to say of that."""
    root = common_folder(pictures)
    of_folder: dict[str, list[str]] = defaultdict(list)
    for path in pictures:
        first, _, more = path[len(root) :].partition("/")
        of_folder[first if more else ""].append(path)
    means = {name: split_name(name) for name in of_folder}
    left = [name for name, found in means.items() if found == (UNLABELLED, "")]
    if not left or len(left) == len(of_folder):
        return pictures, []
    notices = [f"{name}/ left out: its pictures have no labels ({_count(of_folder[name])})" for name in left]
    out = {path for name in left for path in of_folder[name]}
    return [path for path in pictures if path not in out], notices


def empty_classes(layout: Layout, folders: Iterable[str]) -> list[str]:
    """Names of folders that stand beside class folders but hold no picture in any split or domain."""
    full = {row.label for row in layout.rows}
    beside = (folder.rpartition("/") for folder in folders)
    return sorted(
        {name for holder, _, name in beside if holder in layout.holders and composed(name) not in full}
    )


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _in_order(by_name: Mapping[str, str]) -> list[str]:
    order = ["train", "val", "test"]
    return sorted(
        by_name, key=lambda name: (order.index(by_name[name]) if by_name[name] in order else 3, name)
    )


def _firsts(paths: Iterable[str], root: str) -> set[str]:
    return {path[len(root) :].partition("/")[0] for path in paths}


# -- splits --------------------------------------------------------------------------------------------------


def _split_folders(paths: Iterable[list[str]]) -> dict[str, str]:
    """First-level folders that are splits, with the split: called so, beside one that holds class folders.

    DataError where all folders are called so and none holds class folders.
    """
    below: dict[str, set[str]] = defaultdict(set)  # class folders of each folder
    for parts in paths:
        below[parts[0]].update(parts[1:2] if len(parts) > 2 else ())
    named = splits_among(below)
    holding = {split for name, split in named.items() if below[name]} - {UNLABELLED}
    kinds, alone = set(named.values()), len(named) == len(below)
    if not holding:
        if alone and {"train"} < kinds:
            raise DataError(
                f"{_listed(f'{name}/' for name in named)} hold pictures but no class folders; in each, "
                f"{TO_MEND}"
            )
        return {}
    if alone and (len(named) > 1 or _plain_split(next(iter(named)))):
        return named
    # beside other folders, that may be classes, there has to be more than two words
    told = "train" in holding and bool({"test", "val"} & kinds)
    several = any(len(below[name]) > 1 for name, split in named.items() if split == "train")
    return named if told and several else {}


def _take_splits(
    inside: dict[str, list[str]], splits: dict[str, str | None], by_folder: dict[str, str]
) -> list[str]:
    """Takes the splits' folders off the paths and leaves out what is in none or in no class; says what that was."""
    notices = []
    of_folder: dict[str, list[str]] = defaultdict(list)
    for path, parts in list(inside.items()):
        of_folder[parts.pop(0)].append(path)
    for folder, paths in of_folder.items():
        if folder not in by_folder:
            notices.append(f"{folder}/ left out: it is no split ({_count(paths)})")
    _pass_through(inside, {folder: paths for folder, paths in of_folder.items() if folder in by_folder})
    for folder, paths in of_folder.items():
        flat = [path for path in paths if len(inside[path]) < 2]
        taken = folder in by_folder and by_folder[folder] != UNLABELLED
        if taken and len(flat) == len(paths):
            notices.append(f"{folder}/ left out: no class folders in it ({_count(paths)})")
        elif taken and flat:
            notices.append(f"{_count(flat)} directly in {folder}/ left out: in no class folder")
        elif folder in by_folder and not taken:
            notices.append(f"{folder}/ left out: its pictures have no labels ({_count(paths)})")
        for path in flat if taken else paths:
            del inside[path], splits[path]
        for path in set(paths) & inside.keys():
            splits[path] = by_folder[folder]
    if not inside:
        raise DataError("the pictures lie in no class folders; make one folder per class in each split")
    return notices


def _pass_through(inside: dict[str, list[str]], of_folder: dict[str, list[str]]) -> None:
    """Takes off folders inside a split that hold all of it and say nothing, such as seg_train/seg_train or train/images."""
    while True:
        first = {
            folder: {inside[path][0] if len(inside[path]) > 1 else "" for path in paths}
            for folder, paths in of_folder.items()
        }
        classes = [names for names in first.values() if len(names) > 1]
        same = len(of_folder) > 1 and not classes and len(set(map(frozenset, first.values()))) == 1
        changed = False
        for folder, names in first.items():
            (name, *more) = names
            if more or not name or any(name in others for others in classes):
                continue
            paths = of_folder[folder]
            deep = all(len(inside[path]) > 2 for path in paths)
            means = split_name(name)
            says_nothing = (
                name == folder
                or name.lower() in FILLERS
                or (means is not None and means == split_name(folder))
            )
            if says_nothing or (same and deep and len({inside[path][1] for path in paths}) > 1):
                for path in paths:
                    inside[path].pop(0)
                changed = True
        if not changed:
            return


def _splits_are_second(paths: Iterable[list[str]]) -> bool:
    """Whether every first-level folder is divided into train and others: CLASS/train/..."""
    kinds: set[str] = set()
    for parts in paths:
        found = SPLITS.get(parts[1].lower()) if len(parts) > 2 else None
        if found is None:
            return False
        kinds.add(found)
    return "train" in kinds and len(kinds) > 1


def _parts_of_one(names: set[str]) -> list[str]:
    """The names of class folders where they differ in numbers alone, such as part1 and part2; [] for any others."""
    bare = {re.sub(r"[\W\d_]+", " ", name).strip().lower() for name in names}
    if len(names) < 2 or len(bare) != 1 or not PARTS & set(bare.pop().split()):
        return []
    found = sorted(names)
    return found if len(found) < 4 else [*found[:2], "..."]


def _count(paths: Sequence[str]) -> str:
    return f"{len(paths)} pictures, such as {paths[0]}" if len(paths) > 1 else f"1 picture, {paths[0]}"


def _has_domains(paths: Iterable[list[str]]) -> bool:
    classes: dict[str, set[str]] = defaultdict(set)
    for parts in paths:
        if len(parts) < 3:
            return False
        classes[parts[0]].add(parts[1])
    sets = list(classes.values())
    return len(sets) >= 2 and len(sets[0]) >= 2 and all(found == sets[0] for found in sets)
