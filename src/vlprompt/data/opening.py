"""open_dataset: a folder, a list or an archive becomes a Dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlprompt.data.catalog import papers_split
from vlprompt.data.classes_files import names_beside
from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.formats import Place, read_huggingface, read_place
from vlprompt.data.hugging_face_datasets import is_huggingface, open_huggingface
from vlprompt.data.list_files import Row
from vlprompt.data.naming import Classes, class_names, composed, sorted_keys
from vlprompt.data.sources import Source
from vlprompt.data.splitting import TEST_FRACTION, VAL_FRACTION, draw_splits
from vlprompt.errors import DataError


def open_dataset(
    path: str | os.PathLike[str],
    *,
    classes: Classes | None = None,
    label_column: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    domains: str | Iterable[str] | None = None,
    split_seed: int = 1,
    val_fraction: float = VAL_FRACTION,
    test_fraction: float = TEST_FRACTION,
    root: str | os.PathLike[str] | None = None,
    least_classes: int = 2,
) -> Dataset:
    """Opens pictures with labels.

    path: a folder of class folders (optionally below train, val and test, or below domain folders); a CSV or
        JSON-Lines file of path, label and optionally split and domain; a split file of CoOp's form; a .zip,
        .tar or .tar.gz of any of these, read in place; a parquet file or a folder of them, as Hugging Face `datasets`
        writes them, what its `save_to_disk` wrote, or a Dataset or DatasetDict of it; or the pictures that come with
        the package: "demo", "demo:google".
    classes: names for the classes, see `naming.class_names`; a classes.txt in the data set is used unasked.
    labels: a labels file or split file in or beside the data set. label_column: its column of labels.
        Without them a split file (`split_*.json`) is used, then a labels file with one obvious label column,
        then the folders.
    domains: keep these only.
    split_seed, val_fraction, test_fraction: matter where the data come without a test split; with both fractions 0
        none is drawn, and all pictures are for training.
    root: then path is the name of a data set of the catalog below it, such as "caltech101".
    least_classes: fewer are an error; 1 for pictures that join other classes.

    Raises DataError with the mend; what was skipped or guessed is said in `Dataset.notices`.
    """
    if domains is not None and not isinstance(domains, str):
        domains = list(domains)
    if is_huggingface(path):
        return _from_huggingface(
            path, classes, label_column, domains, split_seed, val_fraction, test_fraction, least_classes
        )
    origin = origin_of(
        path,
        classes=classes,
        label_column=label_column,
        labels=labels,
        domains=domains,
        root=root,
        split_seed=split_seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
    )
    if root is not None:
        from vlprompt.data.catalog_reading import open_catalog

        if any(given is not None for given in (classes, label_column, labels, domains)):
            raise DataError(
                f"{path}: a data set of the catalog has its own classes, labels and splits; give its folder instead"
            )
        return replace(open_catalog(os.fspath(path), root), origin=origin)
    if isinstance(path, str) and (path == "demo" or path.startswith("demo:")) and not Path(path).exists():
        from vlprompt.data.demo_pictures import demo_path

        if domains is None and ":" in path:
            domains = [name.strip() for name in path.split(":", 1)[1].split(",")]
        path, name = demo_path(), "demo"
    else:
        found = Path(path).expanduser().resolve()
        name = (found.name if found.is_dir() else found.name.split(".")[0]) or "data"
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"{place}: there is no such file or folder")
    if not place.is_dir() and not place.is_file():  # reading a pipe or a device might never end
        raise DataError(f"{place}: is neither a file nor a folder")
    try:
        reading = read_place(Place(place, labels, label_column))
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror or error})") from error
    dataset = assemble(
        name,
        reading.source,
        reading.rows,
        reading.notices,
        classes,
        domains,
        split_seed,
        val_fraction,
        test_fraction,
        least_classes,
        understood=reading.understood,
    )
    counts = {key: len(items) for key, items in dataset.splits.items()}
    held = next(
        (
            file
            for file in ([os.fspath(labels)] if labels is not None else dataset.source.files)
            if papers_split(file, counts)
        ),
        None,
    )
    if held is not None:
        dataset = replace(dataset, split_origin=f"papers: {held}")
    return replace(dataset, origin=origin)


def _from_huggingface(
    held: Any,
    classes: Classes | None,
    label_column: str | None,
    domains: str | Iterable[str] | None,
    *drawing: Any,
) -> Dataset:
    reading = read_huggingface(*open_huggingface(held), label_column)
    return assemble(
        "data",
        reading.source,
        reading.rows,
        reading.notices,
        classes,
        domains,
        *drawing,
        understood=reading.understood,
    )


def origin_of(
    path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None, **given: Any
) -> dict[str, Any]:
    """The arguments of `open_dataset` as JSON values, those left at their default left out; paths from the root."""
    usual = {"split_seed": 1, "val_fraction": VAL_FRACTION, "test_fraction": TEST_FRACTION}
    packaged = isinstance(path, str) and path.split(":")[0] == "demo" and not Path(path).exists()
    found: dict[str, Any] = {"path": os.fspath(path) if root is not None or packaged else _whole(path)}
    if root is not None:
        found["root"] = _whole(root)
    for name, value in given.items():
        if value is None or value == usual.get(name):
            continue
        if isinstance(value, os.PathLike) or (name == "classes" and isinstance(value, str)):
            value = _whole(value)
        elif isinstance(value, Mapping):
            value = {str(key): str(words) for key, words in value.items()}
        elif not isinstance(value, (str, int, float)):
            value = list(map(str, value))
        found[name] = value
    return found


def _whole(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.path.expanduser(os.fspath(path)))


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
        raise DataError(f'{name}: there is only one class, "{names[0]}"; at least two are needed')
    if all(words.isdigit() for words in names):
        notices.append(
            "the classes are numbers, which say nothing to a language model; name them with classes.txt or --classes"
        )
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
