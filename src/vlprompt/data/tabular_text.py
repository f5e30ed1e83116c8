"""Text of lists as columns and rows: CSV as programs and spreadsheets write it, columns of spaces, JSON and JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, field
from typing import Any

from vlprompt.errors import DataError

PICTURE_NAME = re.compile(
    r"\.(jpe?g|jpe|jfif|png|webp|bmp|gif|tiff?|p[pgb]m|avif|hei[cf]|jp2)$", re.IGNORECASE
)
_SEPARATOR = re.compile(r'"?sep=(.|\\t)"?', re.IGNORECASE)  # what spreadsheets put into the first line
# files that are no text, by their first bytes, and what to do about it
_SHEET, _UNPACK = "save the sheet as CSV (UTF-8)", "unpack it and give the folder, or make a zip of it"
_NO_TEXT = {
    b"PK\x03\x04": ("a workbook or an archive", _SHEET),
    b"\xd0\xcf\x11\xe0": ("an old workbook", _SHEET),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    b"Rar!\x1a\x07": ("a RAR archive", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("packed with zstd", _UNPACK),
    b"\x1f\x8b": ("packed with gzip", "unpack it"),
    b"SQLite format 3\0": ("a database", "write its table as CSV of path,label"),
    b"MATLAB ": ("a MATLAB file", "write it as CSV of path,label"),
    b"\x89HDF": ("an HDF5 file", "write it as CSV of path,label"),
    b"\x93NUMPY": ("a NumPy array", "write it as CSV of path,label"),
    b"%PDF": ("a PDF", "write it as CSV of path,label"),
}
_DELIMITERS = re.compile("[,;\t|]")
_SPACED = re.compile(
    r"(.*?\.(?:jpe?g|jpe|jfif|png|webp|bmp|gif|tiff?|p[pgb]m|avif|hei[cf]|jp2)|\S+)(?:\s+(.*))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Table:
    """A list of pictures before it is known which column is what.

    rows: cells by column. lines: the line of the file that each row ends at, where it was read from a file. names: of
    classes, by label column and label. headed: whether the columns' names come from the file.
    """

    name: str
    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    lines: tuple[int, ...] = ()
    headed: bool = True

    def place(self, row: int) -> str:
        """The row in words for an error: the list's name, and the line where it is known."""
        return (
            f"{self.name}, line {self.lines[row]}" if row < len(self.lines) else f"{self.name}, row {row + 1}"
        )


def read_table(data: bytes, name: str) -> Table:
    """A CSV (its delimiter found out), columns of spaces, JSON or JSON Lines, told apart by content.

    Without a header line, the first column is called path when its first cell names a picture, then label, column3, ...
    DataError for what is no text and for lines with more cells than there are columns.
    """
    text = decoded(data, name)
    if not text.strip():
        raise DataError(f"{name}: the list is empty")
    return _json(text, name) if text.lstrip()[0] in "{[" else _csv(text, name)


def decoded(data: bytes, name: str) -> str:
    """Text in UTF-8 or UTF-16, with any of the usual line ends as \\n. DataError for other bytes."""
    for magic, (kind, mend) in _NO_TEXT.items():
        if data.startswith(magic):
            raise DataError(f"{name}: is {kind}, not text; {mend}")
    encoding = "utf-8-sig"
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        encoding = "utf-32"
    elif data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif len(data) > 3 and data[1:4:2] == b"\0\0" and data[0]:
        encoding = "utf-16-le"
    elif len(data) > 3 and data[0:3:2] == b"\0\0" and data[1]:
        encoding = "utf-16-be"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8 (spreadsheets call it "
            '"CSV UTF-8")'
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _csv(text: str, name: str) -> Table:
    skipped, text = _without_remarks(text)
    if not text.strip():
        raise DataError(f"{name}: the list is empty")
    first, _, rest = text.lstrip("\n").partition("\n")
    told = _SEPARATOR.fullmatch(first.strip())
    if told:
        skipped, text = skipped + text[: text.index(first)].count("\n") + 1, rest
        if not rest.strip():
            raise DataError(f"{name}: the list is empty")
        first = rest.lstrip("\n").partition("\n")[0]
    if told:
        delimiter = told[1].replace("\\t", "\t")
    else:
        tabs = {line.count("\t") for line in text.split("\n", 50)[:50] if line.strip()}
        delimiter = "\t" if len(tabs) == 1 and 0 not in tabs else max(",;\t|", key=first.count)
    if delimiter not in first and not told:
        return _spaced(text, name)
    lines: list[tuple[int, list[str]]] = []
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((reader.line_num + skipped, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise DataError(
            f"{name}, line {reader.line_num + skipped}: not a readable CSV file ({error})"
        ) from error
    if not lines:
        raise DataError(f"{name}: the list is empty")
    return _table(name, lines)


def _without_remarks(text: str) -> tuple[int, str]:
    """(how many lines are left out, the rest): remarks at the top of a file with separators, which begin with #.

    A header may begin so too, as in "#,file,label": it has as many separators as the next line, which is no header.
    """
    lines = text.split("\n")
    after = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    many = len(_DELIMITERS.findall(lines[after]))
    if not after or not many:  # lines of words have remarks anywhere
        return 0, text
    last = lines[after - 1]
    a_row = any(PICTURE_NAME.search(cell.strip()) for cell in _DELIMITERS.split(lines[after]))
    headed = len(_DELIMITERS.findall(last)) == many and (a_row or not last.startswith("# "))
    left = after - 1 if headed else after
    return left, "\n".join(lines[left:])


def _spaced(text: str, name: str) -> Table:
    """Lines of a picture's path, which may hold spaces where its ending tells its end, and further words."""
    lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _SPACED.fullmatch(line.strip())
        if found is None:
            raise DataError(f"{name}, line {number}: not a readable line of a list")
        path, more = found[1], (found[2] or "").strip()
        whole = PICTURE_NAME.search(path) is not None and not all(word.isdigit() for word in more.split())
        lines.append((number, [path, *([more] if whole and more else more.split())]))
    if not lines:
        raise DataError(f"{name}: the list is empty")
    if numbered := _numbered(lines):
        return _table(name, numbered, spaced=True)
    least = min(len(cells) for _, cells in lines)
    if least > 2 or len({len(cells) for _, cells in lines}) == 1:
        return _table(name, lines, spaced=True)
    joined = [(number, [cells[0], " ".join(cells[1:])]) for number, cells in lines]  # names of several words
    return _table(name, [(n, cells if cells[1] else cells[:1]) for n, cells in joined], spaced=True)


def _numbered(lines: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Lines such as "12 cats/a b.jpg", which count from 0 or 1, as number and path; [] for any others."""
    parts = [cells[0].partition(" ") for _, cells in lines if len(cells) == 1]
    counted = [number for number, _, path in parts if PICTURE_NAME.search(path)]
    if len(counted) < len(lines) or counted not in [
        [str(n + at) for n in range(len(lines))] for at in (0, 1)
    ]:
        return []
    return [(line, [head, path.strip()]) for (line, _), (head, _, path) in zip(lines, parts, strict=True)]


def _table(name: str, lines: list[tuple[int, list[str]]], *, spaced: bool = False) -> Table:
    head = lines[0][1]
    headed = not any(PICTURE_NAME.search(cell) for cell in head)
    if headed and spaced and len(lines) > 1 and not _is_header(head, lines[1][1]):
        headed = False
    if headed:
        body = lines[1:]
        while head and not head[-1]:
            head = head[:-1]  # what spreadsheets append
        head = [column or f"column{number}" for number, column in enumerate(head, start=1)]
    else:
        body, width = lines, max(len(cells) for _, cells in lines)
        at = next((n for n, cell in enumerate(head) if PICTURE_NAME.search(cell)), 0)
        head = [f"column{n}" for n in range(1, width + 1)]
        head[at] = "path"
        if at == 0 and width > 1 and (width == 2 or len({tuple(cells[1:2]) for _, cells in body}) > 1):
            head[1] = "label"
    if len(set(head)) < len(head):
        raise DataError(f"{name}: two columns have the same name ({', '.join(head)})")
    for number, cells in body:
        if any(cells[len(head) :]):
            raise DataError(
                f"{name}, line {number}: {len(cells)} cells for {len(head)} columns ({', '.join(cells)}); put values that "
                "hold commas in quotes, or give every column a name"
            )
    rows = [dict(zip(head, cells, strict=False)) for _, cells in body]
    return Table(name, tuple(head), rows, lines=tuple(number for number, _ in body), headed=headed)


def _is_header(head: list[str], second: list[str]) -> bool:
    """Whether a line of words is a header, in lists without delimiters: no numbers, as the next line has."""
    return not any(cell.isdigit() for cell in head) and any(cell.isdigit() for cell in second)


def _json(text: str, name: str) -> Table:
    try:
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = [json.loads(line) for line in text.split("\n") if line.strip()]
        if isinstance(parsed, dict):
            parsed = _rows_of(parsed, name)
        if not all(isinstance(row, dict) for row in parsed):
            raise DataError(
                f'{name}: every line must be an object such as {{"path": "a.jpg", "label": "cat"}}'
            )
        columns = tuple(dict.fromkeys(str(key) for row in parsed for key in row))
        rows = [{str(key): _cell(value) for key, value in row.items()} for row in parsed]
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not readable as JSON Lines ({error}); write one object a line") from error
    return Table(name, columns, rows)


def _rows_of(parsed: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The one object of a file: annotations in COCO's form, a label for each picture, the pictures of each label, columns,
    or a row."""
    if {"images", "annotations"} <= parsed.keys():
        return _annotated(parsed, name)
    if any(PICTURE_NAME.search(str(key)) for key in parsed):
        return [{"path": key, "label": value} for key, value in parsed.items()]
    values = list(parsed.values())
    if not values:
        raise DataError(f"{name}: the list is empty")
    if all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):
        return [{key: value[row] for key, value in parsed.items()} for row in values[0]]
    if all(isinstance(value, list) and value for value in values):
        if all(PICTURE_NAME.search(str(cell)) for value in values for cell in value):
            return [{"path": cell, "label": key} for key, value in parsed.items() for cell in value]
        if len(set(map(len, values))) == 1:
            return [dict(zip(parsed, row, strict=True)) for row in zip(*values, strict=True)]
    return [parsed]


def _annotated(parsed: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Pictures with the category of their annotations, a row for each different one; DataError where there are none."""
    try:
        words = {one["id"]: str(one["name"]) for one in parsed["categories"]}
        labels: dict[Any, dict[str, None]] = {one["id"]: {} for one in parsed["images"]}
        for one in parsed["annotations"]:
            labels[one["image_id"]][words[one["category_id"]]] = None
        paths = {one["id"]: one["file_name"] for one in parsed["images"]}
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{name}: its annotations for detection or captions name no categories of pictures; write a CSV of path,label"
        ) from error
    several = next((key for key, held in labels.items() if len(held) > 1), None)
    if several is not None:
        raise DataError(
            f"{name}: annotations for detection, {paths[several]} holds {', '.join(list(labels[several])[:3])}; a picture gets "
            "one label: write a CSV of path,label"
        )
    return [{"path": paths[key], "label": "".join(held)} for key, held in labels.items()]


def _cell(value: Any) -> str:
    """A JSON value as the text of a cell; the only element of a list counts as itself."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = value.get("path") or value.get("file_name") or value.get("name") or json.dumps(value)
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value).strip()


def elements(cell: str) -> list[str] | None:
    """The elements of a cell that holds a list, such as ['cat'] or ["cat", "dog"]; None for any other text."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        found = [part.strip().strip("'\"") for part in cell[1:-1].split(",")]
    if not isinstance(found, list) or not all(isinstance(one, (str, int, float, bool)) for one in found):
        return None
    return [str(one).strip() for one in found if str(one).strip()]
