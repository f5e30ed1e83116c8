"""Rows of pictures as a data set: names for the classes, numbers for the labels, splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vlprompt.data.classes_files import names_beside
from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.folder_layouts import TO_MEND
from vlprompt.data.labels_in_names import told_by_names
from vlprompt.data.list_files import Row
from vlprompt.data.naming import Classes, class_names, composed, sorted_keys
from vlprompt.data.sources import Source
from vlprompt.data.splitting import draw_splits
from vlprompt.errors import DataError

_NOTHING = frozenset(
    {"nan", "null", "<na>", "n/a", "#n/a", "nat", "?", "-"}
)  # what programs write for no label
_CODE = re.compile(r"n\d{8}")  # WordNet ids, as ImageNet's folders are called


def assemble(
    name: str,
    source: Source,
    rows: list[Row],
    notices: list[str],
    classes: Classes | None,
    domains: str | Iterable[str] | None,
    split_seed: int,
    val_fraction: float,
    test_fraction: float,
    least_classes: int = 2,
    *,
    understood: str = "",
) -> Dataset:
    """Rows of pictures as a data set: names for the classes, numbers for the labels, splits drawn if none are given."""
    keys = sorted_keys(row.label for row in rows)
    given: dict[str, str] = {row.label: row.name for row in rows if row.name}
    if classes is None:
        if given:  # a split file names its classes
            classes = {key: given[key].replace("_", " ") for key in keys if key in given}
        else:
            classes, told = names_beside(source, keys)
            notices += [told] if told else []
    elif given and isinstance(classes, dict):  # there users know the names, not the numbers
        by_name = {words: key for key, words in given.items()}
        renamed = {by_name.get(str(key), str(key)): str(words) for key, words in classes.items()}
        classes = {key: words.replace("_", " ") for key, words in given.items()} | renamed
    names = class_names(keys, classes)
    if len(keys) < least_classes:
        doubts = "".join(f"; {text}" for text in notices if " is not used: " in text)
        raise DataError(
            f'{name}: there is only one class, "{names[0]}"; at least two are needed: {TO_MEND}'
            f"{told_by_names([row.path for row in rows])}{doubts}"
        )
    if all(words.isdigit() or _CODE.fullmatch(words) for words in names):
        kind = "numbers" if all(words.isdigit() for words in names) else "codes"
        notices.append(
            f"the classes are {kind}, which say nothing to a language model; name them with classes.txt or --classes"
        )
    notices += _several_in_one(keys)
    if nothing := [key for key in keys if key.lower() in _NOTHING]:
        notices.append(f'"{nothing[0]}" is read as a class; if it stands for no label, leave that cell empty')
    index = {key: label for label, key in enumerate(keys)}
    items = {row.path: Item(row.path, index[row.label], row.domain) for row in rows}
    splits: dict[str, list[Item]] = {}
    for row in rows:
        splits.setdefault(row.split or "train", []).append(items[row.path])
    origin = "given"
    if set(splits) == {"train"} and (val_fraction or test_fraction):
        splits = draw_splits(
            splits["train"], seed=split_seed, val_fraction=val_fraction, test_fraction=test_fraction
        )
        origin = f"drawn, seed {split_seed}, val {val_fraction:g}, test {test_fraction:g}"
        notices.append(f"no split is given; pictures of each class are divided ({origin})")
    elif "test" not in splits and "val" in splits:
        splits["test"] = splits.pop("val")
        notices.append("there is no test split; the validation pictures are used for testing")
    splits = {key: splits[key] for key in ("train", "val", "test") if key in splits}
    dataset = Dataset(name, names, tuple(keys), splits, source, origin, understood=understood)
    if domains is not None:
        wanted = [domains] if isinstance(domains, str) else list(domains)
        dataset = dataset.only_domains([composed(domain) for domain in wanted])
    if "train" in dataset.splits:
        empty = [names[label] for label, count in enumerate(dataset.counts("train")) if not count]
        if empty:
            notices.append(f"{len(empty)} classes have no training pictures: {', '.join(empty[:5])}")
    return replace(dataset, notices=tuple(notices))


def _several_in_one(keys: Sequence[str]) -> list[str]:
    """A notice where a label looks like several: cat|dog beside cat and dog."""
    known = set(keys)
    for key in keys:
        parts = [part for part in re.split(r"[|;,/+&\s]+", key) if part]
        if len(parts) > 1 and known.issuperset(parts):
            return [
                f'the label "{key}" looks like several ({", ".join(parts)} are labels too); it is read as a class of its own, '
                "since a picture gets one label"
            ]
    return []
