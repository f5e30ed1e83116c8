"""Which column of a list is what: told by its values first, and by its name where values do not decide."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from vlprompt.data.list_files import Row
from vlprompt.data.list_matching import Matched, Pictures, refuse_unclear, slashed
from vlprompt.data.naming import composed
from vlprompt.data.split_names import SPLITS, split_of_word
from vlprompt.data.tabular_text import PICTURE_NAME, Table, elements
from vlprompt.errors import DataError, nearest

PATH_COLUMNS = tuple(
    "path file_name filename filepath file image_path image img picture fname image_id image_name photo id".split()
)
LABEL_COLUMNS = tuple(
    "label class category class_name label_name target labels classes categories classname category_name species breed "
    "tag tags".split()
)
SPLIT_COLUMNS = ("split", "subset", "set", "partition")
DOMAIN_COLUMNS = ("domain",)
# what is measured or told of a picture and says nothing of its class
NO_LABELS = frozenset(
    "width height w h size area depth channels x y xmin xmax ymin ymax x1 x2 y1 y2 bbox box left top right bottom "
    "id ids index idx no nr number fold date time datetime timestamp year url link license author source caption "
    "captions description comment score confidence probability rank md5 sha1 sha256 hash bytes filesize "
    "latitude longitude lat lon".split()
)
_YES, _NO = (
    frozenset({"1", "1.0", "true", "yes", "t", "y"}),
    frozenset({"0", "0.0", "false", "no", "f", "n", ""}),
)
SAMPLE = 400  # cells of a column that are looked at for finding out what it is


def plain(column: str) -> str:
    """A column's name as it stands in the tables above: File Name is file_name."""
    return re.sub(r"[\W_]+", "_", column.strip().lower()).strip("_")


@dataclass(frozen=True)
class Listing:
    """A list whose columns are known.

    path: column of pictures; matched: the picture of each row. label: column of labels, or the columns of which one
    is 1; None without. split: the column that says it; flags: columns such as is_valid, with what they say. domain: likewise.
    doubts: why label is None, in words.
    """

    table: Table
    path: str
    matched: Matched
    label: str | tuple[str, ...] | None = None
    split: str | None = None
    flags: dict[str, str] = field(default_factory=dict)
    domain: str | None = None
    doubts: str = ""

    @property
    def understood(self) -> str:
        """What was found out, in words that a person can check."""
        how = f" ({self.matched.how})" if self.matched.how else ""
        label = (
            self.label if isinstance(self.label, str) else f"{', '.join(self.label or ())} (one of them is 1)"
        )
        said = [f"pictures by {self.path}{how}", f"labels by {label}"]
        if others := self._other_labels():
            said.append(f"not by {', '.join(others)}, which --label-column would take")
        if self.split or self.flags:
            said.append(f"splits by {self.split or ', '.join(self.flags)}")
        return ", ".join(said)

    def _other_labels(self) -> list[str]:
        """Further columns that are called as labels are and say something else."""
        label, rows = self.label, self.table.rows
        if not isinstance(label, str):
            return []

        def differs(column: str) -> bool:
            pairs = {(row.get(label, ""), row.get(column, "")) for row in rows}
            return not len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})

        taken = {label, self.path, self.split, self.domain, *self.flags}
        return [
            column
            for column in self.table.columns
            if column not in taken
            and plain(column) in LABEL_COLUMNS
            and _kind([row.get(column, "") for row in rows]) == "labels"
            and differs(column)
        ]

    def rows(self) -> list[Row]:
        """DataError for splits that are none, a picture with several labels, and cells that may mean two pictures."""
        refuse_unclear(self.matched, self.table.name)
        label = self.label
        if label is None:
            raise DataError(f"{self.table.name}: {self.doubts}")
        read = self._one_of(label) if isinstance(label, tuple) else self._one_label(label)
        named = self.table.names.get(label, {}) if isinstance(label, str) else {}
        found = []
        for number, (row, file) in enumerate(zip(self.table.rows, self.matched.files, strict=True)):
            text = read(number)
            found.append(
                Row(
                    file if file is not None else row.get(self.path, ""),
                    composed(text),
                    self._split_of(number),
                    composed(row.get(self.domain, "")) or None if self.domain else None,
                    named.get(text),
                )
            )
        return found

    def _one_label(self, label: str) -> Callable[[int], str]:
        whole = all(
            _is_whole(row.get(label, "")) for row in self.table.rows
        )  # 3.0, as programs write where cells lack

        def read(number: int) -> str:
            cell = self.table.rows[number].get(label, "")
            held = elements(cell)
            if held is not None and len(held) > 1:
                raise DataError(
                    f"{self.table.place(number)}: {len(held)} labels ({', '.join(held)}); a picture gets one label"
                )
            text = cell if held is None else "".join(held)
            return text.partition(".")[0] if whole else text

        return read

    def _one_of(self, columns: tuple[str, ...]) -> Callable[[int], str]:
        def read(number: int) -> str:
            row = self.table.rows[number]
            held = [column for column in columns if row.get(column, "").lower() in _YES]
            if len(held) > 1:
                raise DataError(
                    f"{self.table.place(number)}: {len(held)} labels ({', '.join(held)}); a picture gets one label"
                )
            return "".join(held)

        return read

    def _split_of(self, number: int) -> str | None:
        row = self.table.rows[number]
        if self.split:
            given = row.get(self.split, "")
            found = split_of_word(given) if given else None
            if given and found is None:
                raise DataError(
                    f'{self.table.place(number)}: split "{given.lower()}" is none of train, val, test'
                )
            return found
        if not self.flags:
            return None
        held = {meant for column, meant in self.flags.items() if row.get(column, "").lower() in _YES}
        if held - {"train"}:
            return "test" if "test" in held else "val"
        return "train" if held or "train" not in self.flags.values() else "test"


def read_columns(table: Table, pictures: Pictures, label_column: str | None = None) -> Listing:
    """What the columns of a list are. `label` is None where no column holds labels, or several may.

    DataError where no column names pictures, or there is no such label_column.
    """
    if label_column is not None and label_column not in table.columns:
        raise DataError(
            f'{table.name}: there is no column "{label_column}"; {nearest(label_column, table.columns)}'
        )
    path = _picture_column(table, pictures, label_column)
    if table.headed and table.lines and plain(path) not in PATH_COLUMNS and pictures.match([path]).distinct:
        table, path = _without_header(table, path)
        label_column = None
    matched = pictures.match([row.get(path, "") for row in table.rows])
    split = _split_column(table, path, label_column)
    flags = {} if split else _flags(table, (path, label_column))
    domain = next(
        (c for c in table.columns if plain(c) in DOMAIN_COLUMNS and c not in (path, label_column)), None
    )
    listing = Listing(table, path, matched, None, split, flags, domain)
    if label_column is not None:
        return replace(listing, label=label_column)
    label, doubts = _label_columns(listing)
    if isinstance(label, str) and label not in table.names and (words := _names_of(table, label, listing)):
        listing = replace(listing, table=replace(table, names=table.names | {label: words}))
    return replace(listing, label=label, doubts=doubts)


def may_be_labels(column: str) -> bool:
    """Whether a column may hold labels by its name: no measures and texts, and no ids but those of classes."""
    words = plain(column).split("_")
    of_class = any(word in LABEL_COLUMNS for word in words)
    return "_".join(words) not in NO_LABELS and (words[-1] not in ("id", "ids", "uid", "uuid") or of_class)


def _cells(table: Table, column: str) -> list[str]:
    """Some of a column's cells, evenly spread."""
    rows = table.rows[:: max(1, len(table.rows) // SAMPLE)]
    return [row.get(column, "") for row in rows]


def _by_name(columns: Sequence[str], known: Sequence[str]) -> str | None:
    lower = {plain(column): column for column in reversed(columns)}
    return next((lower[name] for name in known if name in lower), None)


def _picture_column(table: Table, pictures: Pictures, label_column: str | None) -> str:
    """The column whose cells mean the most pictures; where none does, the one that looks like it."""
    open_ = [column for column in table.columns if column != label_column]
    looks = [column for column in open_ if _look_like_pictures(_cells(table, column))]
    best, most = None, (0, False, False)
    usual = _by_name(open_, PATH_COLUMNS)
    for column in looks or open_:
        cells = _cells(table, column)
        found = pictures.match(cells)
        if not found.exact and column not in looks and 2 * len(set(cells)) <= len(cells):
            continue  # class numbers may be names of pictures too
        rank = (found.distinct, found.exact, column == usual)
        if found.distinct and rank > most:
            best, most = column, rank
    if best is None:
        best = looks[0] if looks else _by_name(open_, PATH_COLUMNS)
    if best is None:
        raise DataError(
            f"{table.name}: no column of picture paths, and none whose values are names of pictures that are there; call "
            f"it path (columns: {', '.join(table.columns)})"
        )
    return best


def _look_like_pictures(cells: Sequence[str]) -> bool:
    given = [cell for cell in cells if cell]
    return bool(given) and 2 * sum(PICTURE_NAME.search(slashed(cell)) is not None for cell in given) > len(
        given
    )


def _without_header(table: Table, path: str) -> tuple[Table, str]:
    """The first line is a row: its cell names a picture."""
    names = [f"column{n}" for n in range(1, len(table.columns) + 1)]
    at = table.columns.index(path)
    names[at] = "path"
    if len(names) == 2:
        names[1 - at] = "label"
    renamed = dict(zip(table.columns, names, strict=True))
    first = {renamed[column]: column for column in table.columns}
    rows = [first, *({renamed[column]: cell for column, cell in row.items()} for row in table.rows)]
    lines = (max(table.lines[0] - 1, 1), *table.lines)
    return Table(table.name, tuple(names), rows, lines=lines, headed=False), "path"


def _split_column(table: Table, *taken: str | None) -> str | None:
    """The column that says train, val or test: all its cells do, or it is called so."""
    open_ = [column for column in table.columns if column not in taken]
    for column in open_:
        cells = {cell for cell in _cells(table, column) if cell}
        if len(cells) > 1 and all(split_of_word(cell) for cell in cells):
            return column
    named = _by_name(open_, SPLIT_COLUMNS)
    if named is None:
        return None
    cells = {cell for cell in _cells(table, named) if cell}
    return (
        named if not cells or any(split_of_word(cell) for cell in cells) or plain(named) == "split" else None
    )


def _flags(table: Table, taken: tuple[str | None, ...]) -> dict[str, str]:
    """Columns of yes and no such as is_valid, with the split that yes means."""
    found = {}
    for column in table.columns:
        words = plain(column).split("_")
        meant = [SPLITS[word] for word in words if word in SPLITS]
        yes_or_no = _yes_and_no(_cells(table, column))
        one = len(meant) == 1 or (
            meant[:1] == ["train"] and words[-1] == "split"
        )  # train_test_split: 1 is train
        if column not in taken and one and yes_or_no and words[0] in ("is", "train", "test", "val"):
            found[column] = meant[0]
    return found


def _yes_and_no(cells: Sequence[str]) -> bool:
    lower = {cell.lower() for cell in cells}
    return bool(lower & _YES) and lower <= _YES | _NO


def _label_columns(listing: Listing) -> tuple[str | tuple[str, ...] | None, str]:
    """The column or columns of labels when there is no doubt about them, and else what the doubt is."""
    table = listing.table
    taken = {listing.path, listing.split, listing.domain, *listing.flags}
    left = [c for c in table.columns if c not in taken]
    if not left:
        return None, "no labels; write path,label on every line"
    if usual := _by_name(left, LABEL_COLUMNS):
        return usual, ""
    if len(table.names) == 1:
        return next(iter(table.names)), ""
    if table.names:
        return None, _which(list(table.names))
    hot, several = _one_hot(table, left)
    if hot or several:
        return hot or None, several
    kinds = {column: _kind([row.get(column, "") for row in table.rows]) for column in left}
    lone_y = "x" not in map(plain, table.columns)  # beside an x it is a place
    fitting = [c for c in left if kinds[c] == "labels" and (may_be_labels(c) or (plain(c) == "y" and lone_y))]
    if len(fitting) == 1:
        return fitting[0], ""
    if len(left) == 1 and kinds[left[0]] == "short" and may_be_labels(left[0]):
        return left[0], ""
    if len(fitting) > 1:
        return None, _which(fitting)
    told = ", ".join(f"{column} ({_TOLD[kinds[column]]})" for column in left)
    return None, f"no column of labels in it: {told}; choose one with label_column if it is one"


def _which(columns: Sequence[str]) -> str:
    return f"which column holds the labels? choose one with label_column: {', '.join(columns)}"


def _names_of(table: Table, label: str, listing: Listing) -> dict[str, str]:
    """Names of classes that are numbers, from a column that goes with them one to one; {} without one."""
    numbers = [row.get(label, "") for row in table.rows]
    if not all(number.isdigit() for number in numbers):
        return {}
    for column in table.columns:
        if column in (label, listing.path, listing.split, listing.domain, *listing.flags):
            continue
        words = [row.get(column, "") for row in table.rows]
        pairs = set(zip(numbers, words, strict=True))
        one_to_one = len(pairs) == len(set(numbers)) == len(set(words)) > 1
        if one_to_one and all(words) and not any(map(_is_number, words)):
            return dict(pairs)
    return {}


_TOLD = {
    "labels": "measures or ids by its name",
    "short": "nearly as many values as rows",
    "texts": "texts such as captions",
    "numbers": "numbers",
    "one": "one value throughout",
    "nothing": "empty",
}


def _kind(cells: Sequence[str]) -> str:
    """What the values of a column look like: one of the keys of _TOLD."""
    given = ["".join(held) if len(held := elements(cell) or ()) == 1 else cell for cell in cells if cell]
    values = set(given)
    if not values:
        return "nothing"
    if len(values) == 1:
        return "one"
    repeated = 2 * len(values) <= len(given)
    if all(_is_number(value) for value in values) and not all(map(_is_whole, values)):
        return "numbers"
    if sum(len(value.split()) for value in values) > 6 * len(values) and 4 * len(values) > len(given):
        return "texts"
    if repeated:
        return "labels"
    if all(_is_number(value) for value in values):
        return "numbers"
    if len(given) > 8 and sum(len(value.split()) for value in values) > 3 * len(values):
        return "texts"
    return "short"


def _one_hot(table: Table, columns: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """(columns of 0 and 1 with a 1 in one of them, "") where no row has two; else ((), what is wrong or "")."""
    hot = []
    for column in columns:
        values = {row.get(column, "").lower() for row in table.rows}
        if may_be_labels(column) and values - {""} and values <= _YES | _NO:
            hot.append(column)
    held = [[c for c in hot if row.get(c, "").lower() in _YES] for row in table.rows]
    used = {column for one in held for column in one}
    if len(used) < 2 or 2 * sum(len(one) == 1 for one in held) < len(held):
        return (), ""
    several = next((at for at, one in enumerate(held) if len(one) > 1), None)
    if several is None:
        return tuple(hot), ""
    if len(hot) == 2:
        return (), ""
    line = table.place(several).removeprefix(f"{table.name}, ")
    return (), f"{line}: several labels ({', '.join(held[several])}); a picture gets one label"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.0+)?", text) is not None
