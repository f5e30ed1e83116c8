"""Lists in a folder or archive: which of them say labels or splits of its pictures, and which of those are used."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from vlprompt.data.classes_files import CLASS_FILES, OTHERS
from vlprompt.data.folder_layouts import Layout, ending
from vlprompt.data.joined_lists import joined
from vlprompt.data.left_out import RUN_FILES
from vlprompt.data.list_columns import LABEL_COLUMNS, Listing, plain, read_columns
from vlprompt.data.list_files import SPLIT_FILE, Row
from vlprompt.data.list_matching import Pictures, slashed
from vlprompt.data.sources import Source
from vlprompt.data.split_names import FILLERS, split_name, split_of_word
from vlprompt.data.tabular_text import PICTURE_NAME, Table, read_table
from vlprompt.errors import DataError

LABEL_FILES = (
    "labels.csv",
    "labels.jsonl",
    "metadata.csv",
    "metadata.jsonl",
    "_classes.csv",
)  # whose faults are errors
ENDINGS = frozenset({".csv", ".tsv", ".tab", ".txt", ".json", ".jsonl", ".ndjson", ".lst", ".list"})
_WORKBOOKS = frozenset({".xlsx", ".xls", ".ods"})
# what programs keep lists in, too, where the name says that it is of labels
_NOT_READ = frozenset(".mat .npy .npz .pkl .pickle .h5 .hdf5 .db .sqlite .sqlite3 .feather .gz".split())
_LABELS = re.compile(r"label|annotation|classes|target|categor", re.IGNORECASE)
LARGEST, MOST = 64 * 2**20, 40  # bytes of a list, and lists, that are looked into
TEXTS = frozenset({"text", "title", "prompt", "sentence"})
_NOT_LISTS = re.compile(
    r"^(readme|licen[cs]e|notice|requirements|classes|class_?names|names)\b", re.IGNORECASE
)
_FORM = re.compile(r"submission", re.IGNORECASE)  # what competitions give for answers to be filled in
_USUAL = FILLERS | {"ground", "truth", "groundtruth", "gt", "target", "targets"}


@dataclass
class Lists:
    """used: lists of labels with their rows; [] where the folders say the labels. beside: rows of class folders of another
    split than those lists. splits: of pictures whose folders say the labels, from the lists split_files. notices: what was
    not used, and why."""

    used: list[tuple[Listing, list[Row]]] = field(default_factory=list)
    beside: list[Row] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    split_files: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def lists_in(
    source: Source,
    pictures_of: Callable[[str, str], Pictures],
    layout: Layout | DataError,
    label_column: str | None,
) -> Lists:
    """Lists with a usual name (labels.csv, metadata.jsonl, train.csv, annotations.txt) say the labels where a column of
    labels is in them; others only where folders do not. Lists of a split without labels divide class folders.

    DataError for a label_column that no list has, and for faults in LABEL_FILES.
    """
    found = Lists()
    folders = {row.label for row in layout.rows} if isinstance(layout, Layout) else set()
    pictures = len(layout.rows) if isinstance(layout, Layout) else 0
    listings = _read(source, pictures_of, found.notices, label_column, folders, pictures)
    if label_column is not None:
        fitting = [one for one in listings if one.label == label_column]
        if not fitting:
            said = "; ".join(
                [
                    *found.notices,
                    *(f"{one.table.name} has {', '.join(one.table.columns)}" for one in listings),
                ]
            )
            raise DataError(
                f"{source.path}: label_column is given, but there is no labels file ({LABEL_FILES[0]}) in it with a column "
                f'"{label_column}"{f": {said}" if said else ""}'
            )
        found.used = _with_rows(_together(fitting))
        return found
    by_folder = len(folders) > 1
    listings = [_without_texts(one) if by_folder else one for one in _as_others(listings)]
    labelled = [one for one in listings if one.label is not None]
    chosen = _together(
        [one for one in labelled if _is_usual(one.table.name)] or ([] if by_folder else labelled)
    )
    for one in listings:
        if one in chosen:
            continue
        if one.label is None and (_split_of(one) is None or (not by_folder and not chosen)):
            then = "; the folders are used" if by_folder and not chosen else ""
            found.notices.append(f"{one.table.name} is not used: {one.doubts}{then}")
        elif one.label is not None:
            found.notices.append(
                f"{one.table.name} lists pictures with labels too and is not used (--labels {one.table.name} takes it)"
            )
        elif chosen:
            found.notices.append(f"{one.table.name} is not used: {one.doubts}")
    found.used = _with_rows(chosen)
    if (
        chosen
        and isinstance(layout, Layout)
        and by_folder
        and (named := _named_by_folders(found.used, layout))
    ):
        found.used = named
        found.notices.append(
            "the labels of the list go with the folders one to one; the folders name the classes"
        )
    elif chosen and isinstance(layout, Layout) and by_folder:
        found.used, found.beside = _of_other_splits(found.used, layout)
    if (
        not chosen
        and by_folder
        and isinstance(layout, Layout)
        and all(row.split is None for row in layout.rows)
    ):
        _divide(found, [one for one in listings if one.label is None])
    return found


def _as_others(listings: Sequence[Listing]) -> list[Listing]:
    """Lists of other splits with the same columns have their labels in the same one, though a short list may not show it."""
    told = {one.label for one in listings if isinstance(one.label, str)}
    return [
        replace(one, label=next(iter(told)))
        if one.label is None
        and len(told) == 1
        and told <= set(one.table.columns)
        and _split_of(one) is not None
        else one
        for one in listings
    ]


def _without_texts(listing: Listing) -> Listing:
    """Beside class folders, a column called text holds words about a picture, also where they repeat."""
    if isinstance(listing.label, str) and plain(listing.label) in TEXTS:
        return replace(
            listing, label=None, doubts=f"no column of labels in it: {listing.label} (texts by its name)"
        )
    return listing


def _read(
    source: Source,
    pictures_of: Callable[[str, str], Pictures],
    notices: list[str],
    label_column: str | None,
    folders: set[str],
    pictures: int,
) -> list[Listing]:
    """The files that list pictures which are there. pictures: how many there are in class folders."""
    found = []
    few = len(folders) < 2  # then a list is what is left, and each that is none is said
    for table in _tables(source, pictures_of, notices, few):
        name = table.name
        folder, _, last = name.rpartition("/")
        wanted = label_column if label_column in table.columns else None
        names_classes = _names_all(table, folders)
        hint = f"{name} names the classes and is not used (--classes {name} takes it)"
        if names_classes and wanted is None and 2 * len(table.rows) < pictures:
            notices += [hint] if len(table.columns) > 1 and last not in (*CLASS_FILES, *OTHERS) else []
            continue
        try:
            listing = read_columns(table, pictures_of(folder, last), wanted)
        except DataError as error:
            if names_classes and len(table.columns) > 1 and last not in (*CLASS_FILES, *OTHERS):
                notices.append(hint)
            elif ending(name) in (".csv", ".tsv") and (few or not names_classes):
                notices.append(f"{name} is not used: {str(error).removeprefix(f'{name}: ')}")
            continue
        if listing.matched.distinct > 1 or (listing.matched.distinct and len(table.rows) == 1):
            found.append(listing)
        elif few or ending(name) in (".csv", ".tsv") or last in LABEL_FILES:
            cell = next((row.get(listing.path, "") for row in table.rows), "")
            notices.append(f"{name} is not used: none of its pictures is there, for example {cell}")
    return found


def _names_all(table: Table, folders: set[str]) -> bool:
    """Whether a list has one line for each class folder and names no pictures, or a JSON object has a key or value for
    each."""
    # what was taken for a header may be the first line
    cells = [[column, *(row.get(column, "") for row in table.rows)] for column in table.columns]
    if any(PICTURE_NAME.search(cell) for column in cells for cell in column[:9]):
        return False
    held = [set(column) for column in cells if len(set(column)) == len(column)]
    if len(table.rows) == 1:
        held += [set(table.columns), set(table.rows[0].values())]
    return bool(folders) and any(folders <= values for values in held)


def _tables(
    source: Source, pictures_of: Callable[[str, str], Pictures], notices: list[str], few: bool
) -> list[Table]:
    """The files that may be lists, with those joined that one gives numbers of pictures for."""
    found = []
    for name in _candidates(source, notices):
        last = name.rpartition("/")[2]
        try:
            found.append(read_table(source.read(name), name))
        except DataError as error:
            if last in LABEL_FILES:
                raise
            if few or (_is_usual(name) and ending(name) in (".csv", ".tsv")):
                notices.append(f"{name} is not used: {str(error).removeprefix(name).lstrip(':, ')}")

    def names_pictures(table: Table, column: str) -> bool:
        folder, _, last = table.name.rpartition("/")
        cells = [row.get(column, "") for row in table.rows]
        if not any(PICTURE_NAME.search(slashed(cell)) for cell in cells[:9]):
            return False
        return 2 * sum(file is not None for file in pictures_of(folder, last).match(cells).files) > len(cells)

    by_folder: dict[str, list[Table]] = {}
    for table in found:
        by_folder.setdefault(table.name.rpartition("/")[0], []).append(table)
    return [table for tables in by_folder.values() for table in joined(tables, names_pictures)]


def _candidates(source: Source, notices: list[str]) -> list[str]:
    own = {file.rpartition("/")[0] for file in source.files if file.rpartition("/")[2] in RUN_FILES}
    found = []
    for name, size in source.files.items():
        folder, _, last = name.rpartition("/")
        if ending(name) in _WORKBOOKS and name.count("/") <= 1:
            notices.append(f"{name} is not used: it is a workbook; save the sheet as CSV (UTF-8)")
        elif ending(name) in _NOT_READ and name.count("/") <= 1 and _LABELS.search(last):
            notices.append(
                f"{name} is not used: lists are read as CSV, JSON or text; write it as CSV of path,label"
            )
        fits = ending(name) in ENDINGS and name.count("/") <= 1 and size <= LARGEST and folder not in own
        if not fits or _NOT_LISTS.match(last) or SPLIT_FILE.search(name):
            continue
        if _FORM.search(last):
            notices.append(f"{name} left out: a form for answers")
        else:
            found.append(name)
    if len(found) > MOST:  # boxes or captions, a file for each picture
        stems = {
            file.rpartition("/")[2].rpartition(".")[0] for file in source.files if ending(file) not in ENDINGS
        }
        found = [name for name in found if name.rpartition("/")[2].rpartition(".")[0] not in stems]
        found = sorted(found, key=lambda name: (not _is_usual(name), name.count("/"), name))
        if len(found) > MOST:
            notices.append(f"{len(found) - MOST} texts are not looked into, such as {found[MOST]}")
    return sorted(found[:MOST], key=lambda name: (name.count("/"), name))


def _is_usual(name: str) -> bool:
    """Whether a list is called as lists of labels are: its name says that, or a split, and nothing else."""
    last = name.rpartition("/")[2]
    words = re.findall(r"[^\W_]+", last.rpartition(".")[0].lower())
    told = split_name(last.rpartition(".")[0])
    return (
        last in LABEL_FILES
        or (bool(words) and all(word in _USUAL for word in words))
        or (told is not None and not told.rest)
    )


def _together(listings: Sequence[Listing]) -> list[Listing]:
    """Those that belong together: one for each split, else one, or one in each folder."""
    usual = [one for one in listings if one.table.name.rpartition("/")[2] in LABEL_FILES]
    if usual:
        top = [one for one in usual if "/" not in one.table.name]
        of_folder = {one.table.name.rpartition("/")[0]: one for one in reversed(usual)}
        return top[:1] or sorted(of_folder.values(), key=lambda one: one.table.name)
    of_split: dict[str, Listing] = {}
    for one in sorted(listings, key=lambda one: _in_order(one.table.name)):
        if (told := _split_of(one)) is not None:
            of_split.setdefault(told, one)
    if of_split:
        return [one for one in listings if one in of_split.values()]
    return sorted(listings, key=lambda one: (-one.matched.distinct, one.table.name))[:1]


def _in_order(name: str) -> tuple[int, list[str | int]]:
    """Lists of the same kind by the numbers in their names: train1 before train10."""
    parts: list[str | int] = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
    return name.count("/"), parts


def _split_of(listing: Listing) -> str | None:
    """The split that the list's own name says."""
    told = split_name(listing.table.name.rpartition("/")[2].rpartition(".")[0])
    return told.split if told is not None and not told.rest else None


def _with_rows(listings: Sequence[Listing]) -> list[tuple[Listing, list[Row]]]:
    """Each with its rows; splits come from the lists' names where there are several."""
    several = len({_split_of(one) for one in listings} - {None}) > 1
    found = []
    for one in listings:
        rows = one.rows()
        if several:
            rows = [row if row.split else replace(row, split=_split_of(one)) for row in rows]
        found.append((one, rows))
    return found


def _named_by_folders(
    used: list[tuple[Listing, list[Row]]], layout: Layout
) -> list[tuple[Listing, list[Row]]]:
    """The same with the folders' labels, where the lists' are numbers, or of a column that is not called so, and go with
    them one to one; else []."""
    folder = {row.path: row for row in layout.rows}
    rows = [row for _, rows in used for row in rows if row.path in folder and row.label]
    pairs = {(row.label, folder[row.path].label) for row in rows}
    labels, folders = {label for label, _ in pairs}, {name for _, name in pairs}
    if not rows or not len(pairs) == len(labels) == len(folders) > 1:
        return []
    by_name = all(isinstance(one.label, str) and plain(one.label) in LABEL_COLUMNS for one, _ in used)
    if all(name.isdigit() for name in folders) or (by_name and not all(label.isdigit() for label in labels)):
        return []
    if any(row.name for row in rows):
        return []
    return [
        (
            one,
            [
                replace(row, label=folder[row.path].label, split=row.split or folder[row.path].split)
                for row in rows
                if row.path in folder
            ],
        )
        for one, rows in used
    ]


def _of_other_splits(
    used: list[tuple[Listing, list[Row]]], layout: Layout
) -> tuple[list[tuple[Listing, list[Row]]], list[Row]]:
    """(the lists with splits, rows of class folders) where class folders are for training and lists are of a flat val or
    test folder: train/CLASS/1.jpg and test/2.jpg with test_labels.csv; else (the same lists, [])."""
    divided = [
        (one, [replace(row, split=row.split or _split_of(one) or _split_of_path(row.path)) for row in rows])
        for one, rows in used
    ]
    listed = {row.path: row for _, rows in divided for row in rows if row.label}
    flat = {row.label for row in layout.rows if row.path in listed}  # test/ itself may look like a class
    beside = [
        replace(row, split=row.split or "train")
        for row in layout.rows
        if row.label not in flat and row.path not in listed
    ]
    labels, splits = {row.label for row in listed.values()}, {row.split for row in listed.values()}
    if not listed or not labels <= {row.label for row in beside} or splits & {"train", None}:
        return used, []
    return divided, beside


def _split_of_path(path: str) -> str | None:
    """The split that one of its folders is called after."""
    return next(filter(None, map(split_of_word, path.split("/")[:-1])), None)


def _divide(found: Lists, listings: Sequence[Listing]) -> None:
    """Splits of pictures from lists that have no labels; a picture in two of them stays in the first."""
    told = _together([one for one in listings if _split_of(one) in ("train", "val", "test")])
    if len({_split_of(one) for one in told}) < 2 and not any(_split_of(one) == "test" for one in told):
        return
    for one in told:
        for file in one.matched.files:
            if file is not None:
                found.splits.setdefault(file, _split_of(one) or "train")
        found.split_files.append(one.table.name)
