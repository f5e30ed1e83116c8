"""open_dataset: a folder, a list or an archive becomes a Dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlprompt.data.catalog import papers_split
from vlprompt.data.dataset import Dataset
from vlprompt.data.demo_pictures import packaged_name, packaged_path
from vlprompt.data.formats import Place, read_huggingface, read_place
from vlprompt.data.hugging_face_datasets import is_huggingface, open_huggingface
from vlprompt.data.naming import Classes
from vlprompt.data.rows_to_dataset import assemble
from vlprompt.data.splitting import TEST_FRACTION, VAL_FRACTION
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
        the package: "demo", "emoji", "emoji:google".
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
    packaged = packaged_name(path)
    if packaged is not None:
        if domains is None and ":" in str(path):
            domains = [part.strip() for part in str(path).split(":", 1)[1].split(",")]
        path, name = packaged_path(packaged), packaged
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
    packaged = packaged_name(path) is not None
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
