"""Opening a data set of the catalog: finding it below a root, and its readers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from vlprompt.data.archives import is_archive, open_source
from vlprompt.data.catalog import Entry, Part, find, papers_split
from vlprompt.data.dataset import Dataset
from vlprompt.data.folder_layouts import is_picture
from vlprompt.data.list_files import SPLIT_FILE, Row, read_split_file
from vlprompt.data.rows_to_dataset import assemble
from vlprompt.data.sources import LARGEST_FILE, Source
from vlprompt.data.splitting import TEST_FRACTION, VAL_FRACTION
from vlprompt.errors import DataError
from vlprompt.files import read_file

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
# two classes that share a name in the usual list of ImageNet's; methods need names that differ
SAME_NAME = {"n04008634": "projectile", "n04355933": "sunglass"}


@dataclass(frozen=True)
class Place:
    """Where a data set was found: a folder or archive, and the folder inside it, "" or with a final `/`."""

    path: Path
    inside: str = ""


@dataclass
class Said:
    """What a reader finds out beside the pictures. split: as `Dataset.split_origin`."""

    notices: list[str] = field(default_factory=list)
    split: str = "given"


def open_catalog(name: str, root: str | os.PathLike[str]) -> Dataset:
    """A data set of the catalog, below the folder of all data sets, or in its own folder or archive.

    Classes are in the papers' order, splits are the papers'; where their split file is missing, the official
    or a drawn one is used if class and picture can be told without it, and `Dataset.notices` says so.
    Raises DataError that names the missing part and where it comes from.
    """
    entry = find(name)
    place = locate(entry, Path(root).expanduser())
    if place is None:
        looked = ", ".join((entry.folder, *entry.others))
        raise DataError(
            f"{root}: no {entry.title} in it; looked for {entry.pictures.path} below {looked} "
            f"and the folder itself. It comes from {entry.pictures.source}"
        )
    source = open_source(place.path)
    folders = tuple(place.inside + path for path in entry.pictures.paths)
    if not any(file.startswith(folders) and is_picture(file) for file in source.files):
        raise DataError(
            f"{place.path}: no pictures in its {entry.pictures.path}; they come from {entry.pictures.source}"
        )
    said = Said()
    rows = READERS[entry.reader](entry, source, place, said)
    if not rows:
        raise DataError(f"{place.path}: there are no pictures of {entry.title} in it")
    dataset = assemble(entry.name, source, rows, said.notices, None, None, 1, VAL_FRACTION, TEST_FRACTION)
    whole = {name: len(items) for name, items in dataset.splits.items()} == entry.counts
    origin = said.split
    if entry.split is None:  # its lists or folders are what papers use
        origin = "papers" if whole else "incomplete"
    elif dataset.split_kind == "drawn":
        origin = dataset.split_origin
    return replace(dataset, split_origin=origin, templates=(entry.template,))


# -- finding -------------------------------------------------------------------------------------------------


def locate(entry: Entry, root: Path) -> Place | None:
    """The first place that holds the data set's folder of pictures."""
    for place in _candidates(entry, root):
        if place.is_dir() and part_of(entry.pictures, place) is not None:
            return Place(place)
        if place.is_file() and is_archive(place):
            inside = _inside(entry, open_source(place).files)
            if inside is not None:
                return Place(place, inside)
    return None


def _candidates(entry: Entry, root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    names = (entry.folder, entry.name, *entry.others)
    for name in names:
        yield root / name
    for name in names:
        yield from (root / f"{name}{ending}" for ending in ARCHIVES)
    # the folder itself, where it is this one for sure: pictures alone lie in an images/ folder of many
    own = [part for part in entry.all_parts if part is not entry.pictures]
    telling = entry.pictures.path not in ("images/", "jpg/")
    if (
        telling
        or root.name in names
        or any(part_of(part, root) for part in own if part.path not in ("classnames.txt", "images/val/"))
    ):
        yield root


def part_of(part: Part, place: Path) -> str | None:
    """The first of the part's paths that is there."""
    for path in part.paths:
        found = place / path
        if found.is_dir() if path.endswith("/") else found.is_file():
            return path
    return None


def _inside(entry: Entry, files: Iterable[str]) -> str | None:
    """The folder of an archive that the data set's parts lie in."""
    for name in files:
        for path in entry.pictures.paths:
            before, found, _ = f"/{name}".partition(f"/{path}")
            if found and before.count("/") <= 1:
                return f"{before[1:]}/" if before else ""
    return None


def _path(part: Part, source: Source, place: Place) -> str | None:
    """The part's path inside the source; folders are those that hold some file."""
    for path in part.paths:
        name = place.inside + path
        if name in source.files or (
            path.endswith("/") and any(file.startswith(name) for file in source.files)
        ):
            return name
    return None


# -- readers -------------------------------------------------------------------------------------------------


def _split(entry: Entry, source: Source, place: Place, said: Said) -> list[Row]:
    """From the papers' split file, else from what there is."""
    assert entry.split is not None
    name = _path(entry.split, source, place)
    if name is None:
        shallow = (
            n for n in sorted(source.files) if SPLIT_FILE.search(n) and "/" not in n[len(place.inside) :]
        )
        name = next((n for n in shallow if n.startswith(place.inside)), None)
        if name is not None:
            said.notices.append(f"the split is that of {name}, not that of the papers ({entry.split.path})")
    if name is None:
        return _without_split_file(entry, source, place, said)
    rows = read_split_file(source.read(name), name, source.files)
    there = [row for row in rows if row.path in source.files]
    said.split = f"given: {name}"
    if papers_split(name, Counter(row.split or "" for row in rows)):
        said.split = f"papers: {name}" if len(there) == len(rows) else f"incomplete: {name}"
    elif name.endswith(entry.split.path):
        said.notices.append(
            f"{name} lists {len(rows)} pictures, that of the papers {sum(entry.counts.values())}: it is another one"
        )
    if len(there) < len(rows):
        example = next(row.path for row in rows if row.path not in source.files)
        said.notices.append(f"{len(rows) - len(there)} pictures of {name} are missing, for example {example}")
    return [replace(row, name=entry.renamed.get(row.name or "", row.name)) for row in there]


def _without_split_file(entry: Entry, source: Source, place: Place, said: Said) -> list[Row]:
    assert entry.split is not None
    lacking = f"{entry.split.path} is missing (it comes from {entry.split.source})"
    pictures = _path(entry.pictures, source, place)
    if entry.split.needed or pictures is None:
        raise DataError(f"{place.path}: {lacking}; without it the classes of {entry.title} cannot be told")
    base = pictures.removesuffix(entry.pictures.path.rpartition("/")[0].rpartition("/")[2] + "/")
    lists = [(split, base + path) for split, path in entry.lists]
    if lists and all(path in source.files for _, path in lists):
        said.notices.append(f"{lacking}; the official split is used, figures differ from those of the papers")
        said.split = "given: the official split"
        return [row for split, path in lists for row in _listed(entry, source, pictures, split, path)]
    if entry.name == "oxford_pets":
        raise DataError(f"{place.path}: {lacking}, and so is the official split ({entry.lists[0][1]})")
    said.notices.append(f"{lacking}; pictures are divided at random, figures differ from those of the papers")
    rows = []
    for file in source.files:
        if file.startswith(pictures) and is_picture(file):
            folders = file[len(pictures) :].split("/")[:-1]
            if folders and folders[0] not in entry.left_out:
                rows.append(_row(entry, file, "/".join(folders), None))
    return rows


def _listed(entry: Entry, source: Source, pictures: str, split: str, path: str) -> Iterator[Row]:
    """Lines of the official lists: CLASS/PICTURE with or without its ending, or PETNAME_12 and numbers."""
    for line in source.read(path).decode("utf-8", errors="replace").splitlines():
        line = line.split(" ")[0].strip()
        if not line or line.startswith("#"):
            continue
        label = line.rpartition("/")[0] or line.rpartition("_")[0].lower()
        file = pictures + line if pictures + line in source.files else f"{pictures}{line}.jpg"
        if file in source.files:
            yield _row(entry, file, label, split)


def _row(entry: Entry, file: str, folder: str, split: str | None) -> Row:
    """SUN397's folders lie by first letter, and say what comes first last: a/apse/indoor is an indoor apse."""
    words = folder
    if entry.name == "sun397":
        words = " ".join(reversed(folder.split("/")[1:] or [folder]))
    return Row(file, folder, split, None, entry.renamed.get(words, words).replace("_", " "))


def _aircraft(entry: Entry, source: Source, place: Place, said: Said) -> list[Row]:
    """variants.txt gives the classes in order; one list of `PICTURE variant` lines for each split."""
    variants, *lists = (_needed(part, source, place) for part in entry.parts)
    pictures = _needed(entry.pictures, source, place)
    names = [line.strip() for line in source.read(variants).decode("utf-8").splitlines() if line.strip()]
    number = {name: str(label) for label, name in enumerate(names)}
    rows, missing = [], 0
    for split, path in zip(("train", "val", "test"), lists, strict=True):
        for line in source.read(path).decode("utf-8").splitlines():
            picture, _, name = line.strip().partition(" ")
            if not picture:
                continue
            if name not in number:
                raise DataError(f'{path}: variant "{name}" of picture {picture} is not in {variants}')
            file = f"{pictures}{picture}.jpg"
            missing += file not in source.files
            if file in source.files:
                rows.append(Row(file, number[name], split, None, name))
    if missing:
        said.notices.append(f"{missing} listed pictures are missing")
    return rows


def _imagenet(entry: Entry, source: Source, place: Place, said: Said) -> list[Row]:
    """train/ for training, val/ for testing, as published; a folder per class in both."""
    rows = imagenet_rows(entry, source, place, said)
    if not any(row.split == "test" for row in rows):
        folder = _imagenet_folder(entry, source, place) + "val/"
        flat = any(file.startswith(folder) for file in source.files)
        why = "they lie in no class folders: sort them into one per class" if flat else "there are none"
        raise DataError(f"{place.path}: validation pictures are needed for testing, and {why}")
    return rows


def imagenet_rows(entry: Entry, source: Source, place: Place, said: Said) -> list[Row]:
    """The same, also where one of them is missing."""
    names = _wordnet_names(entry, source, place, said)
    folder = _imagenet_folder(entry, source, place)
    return _class_folders(source, f"{folder}train/", "train", names) + _class_folders(
        source, f"{folder}val/", "test", names
    )


def _imagenet_folder(entry: Entry, source: Source, place: Place) -> str:
    """What train/ and val/ lie in."""
    return _needed(entry.pictures, source, place).removesuffix("train/")


def _test_folders(entry: Entry, source: Source, place: Place, said: Said) -> list[Row]:
    """One folder per class, named by WordNet id, or by number as in ImageNetV2; for testing only."""
    names = _wordnet_names(entry, source, place, said)
    pictures = _needed(entry.pictures, source, place)
    by_number = {str(i): key for i, key in enumerate(names)}
    return [
        replace(
            row, label=by_number.get(row.label, row.label), name=names[by_number.get(row.label, row.label)]
        )
        for row in _class_folders(
            source, pictures, "test", names | {i: names[key] for i, key in by_number.items()}
        )
    ]


def _class_folders(source: Source, folder: str, split: str, names: dict[str, str]) -> list[Row]:
    rows = []
    for file in source.files:
        if file.startswith(folder) and is_picture(file):
            label, slash, _ = file[len(folder) :].partition("/")
            if slash and label not in names:
                raise DataError(f'{source.path}: class folder "{label}" is not in classnames.txt')
            if slash:
                rows.append(Row(file, label, split, None, names[label]))
    return rows


def _wordnet_names(entry: Entry, source: Source, place: Place, said: Said) -> dict[str, str]:
    """WordNet id -> name from classnames.txt, in its order; names that two classes share are told apart."""
    part = entry.parts[0]
    name = _path(part, source, place)
    beside = part_of(part, place.path) if place.path.is_dir() else None
    if name is not None:
        data = source.read(name)
    elif beside is not None:
        data = read_file(place.path / beside, LARGEST_FILE)
    else:
        raise DataError(f"{place.path}: {part.path} is missing; it comes from {part.source}")
    found: dict[str, str] = {}
    used: set[str] = set()
    for line in data.decode("utf-8").splitlines():
        key, _, words = line.strip().partition(" ")
        if key and words:
            found[key] = words.strip()
    repeated = {words for words in found.values() if list(found.values()).count(words) > 1}
    for key, words in found.items():
        if words in repeated and key in SAME_NAME:
            found[key] = SAME_NAME[key]
        elif words in used:
            found[key] = f"{words} ({key})"
        used.add(found[key])
    if repeated:
        said.notices.append(
            f"{part.path} gives several classes the same name, which are told apart: {', '.join(sorted(repeated))}"
        )
    return found


def _needed(part: Part, source: Source, place: Place) -> str:
    found = _path(part, source, place)
    if found is None:
        raise DataError(f"{place.path}: {part.path} is missing; it comes from {part.source}")
    return found


READERS = {"split": _split, "aircraft": _aircraft, "imagenet": _imagenet, "test folders": _test_folders}
