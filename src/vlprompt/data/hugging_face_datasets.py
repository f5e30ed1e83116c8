"""Hugging Face `datasets`: a Dataset or DatasetDict from Python, or what `save_to_disk` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlprompt.data.parquet import numbered, text_of
from vlprompt.data.sources import LARGEST_FILE, MOST_FILES, Source
from vlprompt.data.split_names import SPLITS
from vlprompt.data.tabular_text import Table
from vlprompt.errors import DataError, MissingExtra
from vlprompt.files import read_file

SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` leaves in a folder


def is_huggingface(value: Any) -> bool:
    """Whether it is an object of `datasets`; does not import it."""
    return type(value).__module__.partition(".")[0] == "datasets"


def is_saved(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in SAVED) and any(path.rglob("*.arrow"))


class Rows(Source):
    """Pictures of one or more splits, under the names train/000000, ..."""

    def __init__(self, path: Path, tables: dict[str, Any], image: str) -> None:
        super().__init__(path)
        self.tables, self.image = tables, image
        self.files = {f"{split}/{i:06d}": -1 for split, table in tables.items() for i in range(len(table))}

    def _read(self, name: str) -> bytes:
        split, _, row = name.rpartition("/")
        value = self.tables[split][int(row)][self.image]
        data = value.get("bytes")
        if data is None:
            if not value.get("path"):
                raise DataError(f"{name}: holds no picture")
            data = read_file(Path(value["path"]), LARGEST_FILE)
        if len(data) > LARGEST_FILE:
            raise DataError(f"{name}: larger than {LARGEST_FILE >> 20} MB")
        return bytes(data)

    def identity(self, name: str) -> tuple[str, int, int] | None:  # type: ignore[override]
        """What is in memory has none."""
        return None

    def stamp(self, name: str) -> str:
        split = name.rpartition("/")[0]
        return str(getattr(self.tables[split], "_fingerprint", ""))


def open_huggingface(held: Any, name: str = "data", path: Path = Path("datasets")) -> tuple[Rows, Table]:
    """Pictures and a row of text for each. DataError for one that streams, or that has no column of pictures."""
    import datasets

    if isinstance(held, datasets.Dataset):
        parts = {"": held}
    elif isinstance(held, datasets.DatasetDict):
        parts = {str(split): part for split, part in held.items()}
    else:
        raise DataError(f"{type(held).__name__} cannot be read by row: load the data set without streaming")
    if sum(map(len, parts.values())) > MOST_FILES:  # a file of bytes may claim any number of empty rows
        raise DataError(f"{name}: refused, because it holds more than {MOST_FILES} rows")
    tables, rows, names = {}, [], {}
    columns: dict[str, None] = {"path": None}
    image = None
    for split, part in parts.items():
        if split and split.lower() not in SPLITS:
            continue  # such as "unsupervised"
        found = next((c for c, kind in part.features.items() if isinstance(kind, datasets.Image)), None)
        if found is None or image not in (None, found):
            raise DataError(f"{name}: no column of pictures (columns: {', '.join(part.features)})")
        image = found
        key = split or "all"
        tables[key] = part.cast_column(image, datasets.Image(decode=False))
        labels = {
            c: list(map(str, kind.names))
            for c, kind in part.features.items()
            if isinstance(kind, datasets.ClassLabel)
        }
        texts = [
            c for c, kind in part.features.items() if isinstance(kind, (datasets.Value, datasets.ClassLabel))
        ]
        held_columns = {c: list(part[c]) for c in texts}
        for column, words in labels.items():
            names[column] = numbered(words)
        columns |= dict.fromkeys((*texts, *(("split",) if split else ())))
        for i in range(len(part)):
            row = {"path": f"{key}/{i:06d}"} | {
                c: text_of(values[i], c in labels) for c, values in held_columns.items()
            }
            rows.append(row | ({"split": SPLITS[split.lower()]} if split else {}))
    if image is None:
        raise DataError(f"{name}: none of its splits is train, validation or test ({', '.join(parts)})")
    return Rows(path, tables, image), Table(name, tuple(columns), rows, names)


def open_saved(path: Path) -> tuple[Rows, Table]:
    """What `save_to_disk` wrote."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("datasets", "datasets", "reading what save_to_disk wrote") from error
    try:
        held = datasets.load_from_disk(str(path))
        return open_huggingface(held, path.name, path)
    except DataError:
        raise
    except Exception as error:  # damaged files raise whatever they happen to hit
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{path}: cannot be read as a data set that was saved to disk ({reason[0]})"
        ) from error
