"""Parquet files that hold pictures with labels, as Hugging Face `datasets` writes them.

A picture is a struct of `bytes` and `path`, or bytes alone; names of classes stand in the schema's metadata.
Pictures are read by row when they are asked for, a row group at a time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from vlprompt.data.list_columns import PATH_COLUMNS, SPLIT_COLUMNS
from vlprompt.data.naming import prettified
from vlprompt.data.sources import LARGEST_FILE, MOST_FILES, Source, state_of
from vlprompt.data.split_names import SPLITS
from vlprompt.data.tabular_text import Table
from vlprompt.errors import DataError, MissingExtra
from vlprompt.files import parse_json, read_file

MAGIC = b"PAR1"
KEPT = 2  # row groups in memory
LARGEST_GROUP = 8 * 2**30  # bytes of pictures in one, unpacked
LARGEST_PART = 2**26  # bytes of a column that are unpacked at once, at most
# A file of kilobytes may repeat a long value, or none, without end. Unpacked it may have so many times its bytes.
LARGEST_RATIO, FREE = 100, 2**26
CELL = 64  # bytes that a value costs here, however short it is
MEASURED = 2**30  # bytes: in smaller collections the pictures' sizes are read, which finds equal ones


def is_parquet(path: Path) -> bool:
    """Whether the file begins as parquet files do."""
    with open(path, "rb") as file:
        return file.read(4) == MAGIC


class Parquet(Source):
    """Pictures of one or more parquet files, under the names FILE/000000, FILE/000001, ..."""

    def __init__(self, path: Path, tables: Sequence[Path]) -> None:
        super().__init__(path)
        base = path if path.is_dir() else path.parent
        self._tables = {table.relative_to(base).as_posix(): table for table in tables}
        self._starts: dict[str, list[int]] = {}  # first row of each group
        self._images: dict[str, str] = {}  # column of pictures
        self._groups: OrderedDict[tuple[str, int], Any] = OrderedDict()

    def list_rows(self) -> Table:
        """Lists the pictures; a row of text for each, with "path" and "split" where a file's name tells it."""
        rows: list[dict[str, str]] = []
        names: dict[str, dict[str, str]] = {}
        columns: dict[str, None] = {"path": None}
        measured = sum(table.stat().st_size for table in self._tables.values()) <= MEASURED
        for name, table in self._tables.items():
            with self._whole(table):
                found, labels = self._rows_of(name, table, measured)
            rows += found
            for column, words in labels.items():
                if names.setdefault(column, words) != words:
                    raise DataError(f'{self.path}: its files disagree on the classes of column "{column}"')
            columns |= dict.fromkeys(found[0] if found else ())
            if len(rows) > MOST_FILES:
                raise DataError(f"{self.path}: refused, because it holds more than {MOST_FILES} pictures")
        if not rows:
            raise DataError(f"{self.path}: there are no pictures in it")
        return Table(self.path.name, tuple(columns), rows, names)

    def _rows_of(
        self, name: str, table: Path, measured: bool
    ) -> tuple[list[dict[str, str]], dict[str, dict[str, str]]]:
        pq = parquet()
        with pq.ParquetFile(table) as file:
            groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
            if sum(max(0, group.num_rows) for group in groups) > MOST_FILES:
                raise DataError(f"{table}: refused, because it holds more than {MOST_FILES} rows")
            for group in groups:
                if group.total_byte_size > LARGEST_GROUP:
                    raise DataError(
                        f"{table}: refused, because a row group of it unpacks to {group.total_byte_size >> 30} GB"
                    )
            starts = [0]
            for group in groups:
                starts.append(starts[-1] + group.num_rows)
            self._starts[name] = starts
            features = features_of(file.schema_arrow.metadata)
            image = image_column(file.schema_arrow, features)
            if image is None:
                told = ", ".join(file.schema_arrow.names)
                raise DataError(
                    f"{table}: no column of pictures, that is bytes or a struct of bytes and path (columns: {told})"
                )
            self._images[name] = image
            unpacking = Unpacking(table, file)
            sizes = unpacking.sizes(image) if measured else [-1] * starts[-1]
            if measured and max(sizes, default=0) < 0:
                check_paths(unpacking.values(image), table)
            kept = [
                field.name
                for field in file.schema_arrow
                if is_text_or_number(field.type) and field.name.lower() not in PATH_COLUMNS
            ]
            held = {column: unpacking.values(column) for column in kept}
        split = split_of(name)
        if split is not None and not any(column.lower() in SPLIT_COLUMNS for column in kept):
            held["split"] = [split] * starts[-1]
        labels = {column: words for column, words in class_labels(features).items() if column in held}
        found = []
        for i in range(starts[-1]):
            path = f"{name}/{i:06d}"
            self.files[path] = sizes[i]
            found.append(
                {"path": path}
                | {column: text_of(values[i], column in labels) for column, values in held.items()}
            )
        return found, {column: numbered(words) for column, words in labels.items()}

    def _read(self, name: str) -> bytes:
        table, _, row = name.rpartition("/")
        value = self._value(table, int(row))
        return picture_bytes(value, self._tables[table].parent, name)

    def _value(self, name: str, row: int) -> Any:
        starts = self._starts[name]
        group = bisect_right(starts, row) - 1
        with self._lock:
            column = self._groups.get((name, group))
            if column is None:
                table = self._tables[name]
                with self._whole(table), parquet().ParquetFile(table) as file:
                    column = Unpacking(table, file).group(self._images[name], group)
                self._groups[name, group] = column
                while len(self._groups) > KEPT:
                    self._groups.popitem(last=False)
            self._groups.move_to_end((name, group))
        return column[row - starts[group]].as_py()

    @contextmanager
    def _whole(self, table: Path) -> Iterator[None]:
        """What pyarrow says of damaged files, in one line."""
        import pyarrow as pa

        try:
            yield
        except DataError:
            raise
        except (OSError, ValueError, LookupError, OverflowError, pa.ArrowException) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DataError(f"{table}: damaged, or no parquet file ({reason[0]})") from error

    def identity(self, name: str) -> tuple[str, int, int]:
        found = self._tables[name.rpartition("/")[0]].stat()
        return f"{self._tables[name.rpartition('/')[0]].resolve()}:{name}", found.st_size, state_of(found)

    def stamp(self, name: str) -> str:
        return f"{self._tables[name.rpartition('/')[0]].stat().st_size}-{self.files.get(name, -1)}"

    def close(self) -> None:
        with self._lock:
            self._groups.clear()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_groups": OrderedDict()}


class Unpacking:
    """The columns of a file, part by part; DataError before they cost more than the file can hold honestly."""

    def __init__(self, table: Path, file: Any) -> None:
        self.table, self.file = table, file
        self.most = min(LARGEST_GROUP, LARGEST_RATIO * table.stat().st_size + FREE)
        self.spent = 0
        self._sizes: dict[str, int] = {}
        for group in range(file.num_row_groups):
            held = file.metadata.row_group(group)
            for one in map(held.column, range(held.num_columns)):
                size = max(one.total_uncompressed_size, self._sizes.get(one.path_in_schema, 0))
                self._sizes[one.path_in_schema] = size

    def parts(self, column: str, groups: Sequence[int]) -> Iterator[Any]:
        """Arrays of the column's values in these row groups."""
        rows = max(
            1, min(LARGEST_PART // max(1, self._stored(column)), 2**16)
        )  # each may be the longest value of all
        spent = 0
        for part in self.file.iter_batches(rows, row_groups=list(groups), columns=[column]):
            spent += part.nbytes
            if spent > self.most:
                raise DataError(
                    f'{self.table}: refused, because its column "{column}" unpacks to more than {self.most >> 20} MB'
                )
            yield part.column(0)

    def _stored(self, column: str) -> int:
        """The most bytes of a column in a row group, before values that are repeated are written out."""
        if column in self._sizes:
            return self._sizes[column]
        return max((size for path, size in self._sizes.items() if path.startswith(f"{column}.")), default=0)

    def group(self, column: str, group: int) -> Any:
        """A row group's column as one."""
        import pyarrow as pa

        return pa.chunked_array(self.parts(column, [group]), self.file.schema_arrow.field(column).type)

    def values(self, column: str) -> list[Any]:
        """Every value of a column; those of all columns together are counted."""
        found: list[Any] = []
        for part in self.parts(column, range(self.file.num_row_groups)):
            self.spent += part.nbytes + CELL * len(part)
            if self.spent > self.most:
                raise DataError(
                    f"{self.table}: refused, because its columns unpack to more than {self.most >> 20} MB"
                )
            found += part.to_pylist()
        return found

    def sizes(self, image: str) -> list[int]:
        """Bytes of every picture; -1 where they lie elsewhere."""
        import pyarrow.compute as pc

        sizes: list[int] = []
        for part in self.parts(image, range(self.file.num_row_groups)):
            data = pc.struct_field(part, "bytes") if part.type.num_fields else part
            sizes += [-1 if size is None else size for size in pc.binary_length(data).to_pylist()]
        return sizes


def open_parquet(path: Path) -> tuple[Parquet, Table]:
    """A parquet file, or all of a folder. MissingExtra without pyarrow; DataError for what cannot be read."""
    parquet()
    tables = [path] if path.is_file() else sorted(p for p in path.rglob("*.parquet") if p.is_file())
    source = Parquet(path, tables)
    return source, source.list_rows()


def parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "datasets", "reading parquet files") from error
    return pyarrow.parquet


# -- what the columns mean -----------------------------------------------------------------------------------


def features_of(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """The features that `datasets` notes in the schema; {} without them."""
    try:
        found = parse_json((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def class_labels(features: dict[str, Any]) -> dict[str, list[str]]:
    """Columns of class labels with the names of their classes."""
    return {
        str(column): list(map(str, about["names"]))
        for column, about in features.items()
        if isinstance(about, dict)
        and about.get("_type") == "ClassLabel"
        and isinstance(about.get("names"), list)
    }


def numbered(words: Sequence[str]) -> dict[str, str]:
    """Label -> name, made readable as the names of folders are."""
    return {str(i): name for i, name in enumerate(prettified(list(words)))}


def image_column(schema: Any, features: dict[str, Any]) -> str | None:
    """The column of pictures: noted as such, or by its type, those with a usual name first."""
    import pyarrow as pa

    def holds_bytes(kind: Any) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    fitting = [
        field.name
        for field in schema
        if holds_bytes(field.type)
        or (
            pa.types.is_struct(field.type)
            and field.type.get_field_index("bytes") >= 0
            and holds_bytes(field.type.field("bytes").type)
        )
    ]
    noted = [
        name
        for name in fitting
        if isinstance(features.get(name), dict) and features[name].get("_type") == "Image"
    ]
    usual = [name for name in fitting if name.lower() in PATH_COLUMNS]
    return next(iter((*noted, *usual, *fitting)), None)


def is_text_or_number(kind: Any) -> bool:
    import pyarrow as pa

    held = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(
        test(held)
        for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)
    )


def text_of(value: Any, is_label: bool) -> str:
    """A cell as text; "" for nothing, and for -1, which `datasets` writes where a label is not known."""
    return "" if value is None or (is_label and value == -1) else str(value).strip()


def split_of(name: str) -> str | None:
    """train, val or test from `data/train-00000-of-00002.parquet`, `test.parquet` or `default/test/0000.parquet`."""
    *folders, last = PurePosixPath(name).parts
    words = [re.split(r"[-_.]", last)[0], *reversed(folders)]
    return next((SPLITS[word.lower()] for word in words if word.lower() in SPLITS), None)


def path_of(value: Any) -> str:
    """The path that a cell names beside its bytes, or ""."""
    return str(value.get("path") or "") if isinstance(value, dict) else ""


def leads_outside(path: str) -> bool:
    """Whether a path may lie elsewhere than below the file's folder; such are never read."""
    return path.startswith(("/", "\\")) or ".." in PurePosixPath(path).parts or ":" in path


def check_paths(cells: Sequence[Any], table: Path) -> None:
    """DataError if none of the cells, which hold no bytes, names a file below the table's folder."""
    paths = [path for path in map(path_of, cells) if path]
    if not paths:
        raise DataError(f"{table}: holds neither bytes nor paths of pictures")
    if any(not leads_outside(path) and (table.parent / path).is_file() for path in paths):
        return
    why = "lead out of its folder and are not followed" if leads_outside(paths[0]) else "are not there"
    raise DataError(
        f"{table}: holds no pictures, only paths such as {paths[0]}, which {why}: give the folder of pictures itself, or write "
        'the bytes too (dataset.with_format("arrow").map(datasets.table.embed_table_storage, batched=True).to_parquet(...))'
    )


def picture_bytes(value: Any, folder: Path, name: str) -> bytes:
    """The bytes of a cell, or of the file below `folder` that it names."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is None:
        path = path_of(value)
        if not path:
            raise DataError(f"{name}: holds no picture")
        if leads_outside(path):
            raise DataError(f"{name}: holds no picture, only the path {path}, which is not followed")
        try:
            data = read_file(folder / path, LARGEST_FILE)
        except (OSError, ValueError) as error:
            raise DataError(f"{name}: the picture {path} cannot be read ({error})") from error
    if len(data) > LARGEST_FILE:
        raise DataError(f"{name}: larger than {LARGEST_FILE >> 20} MB")
    return bytes(data)
