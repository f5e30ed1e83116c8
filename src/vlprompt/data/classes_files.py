"""Names of classes in a file that lies in the data or beside a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vlprompt.data.folder_layouts import ending
from vlprompt.data.listed_pictures import ListFolder
from vlprompt.data.naming import composed, read_classes
from vlprompt.data.sources import Source
from vlprompt.errors import DataError

CLASS_FILES = ("classes.txt", "classes.csv", "classes.tsv", "classes.json")
# called so, other things may be in them: they are taken where every class finds its name
OTHERS = tuple(
    f"{name}.{end}"
    for name in (
        "class_names",
        "classnames",
        "names",
        "labels",
        "categories",
        "label_names",
        "class_to_name",
        "cat_to_name",
        "class_indices",
        "class_to_idx",
        "idx_to_class",
        "id2label",
        "label_map",
    )
    for end in ("txt", "csv", "tsv", "json")
)
LARGEST = 2**24  # bytes


def names_beside(source: Source, keys: Sequence[str]) -> tuple[Mapping[str, str] | Sequence[str] | None, str]:
    """(names for the classes as `read_classes` gives them, what to say of them); (None, "") where there are none.

    DataError for a file of CLASS_FILES that does not fit the classes.
    """
    for wanted in (*CLASS_FILES, *OTHERS):
        name = _found(source, wanted)
        if name is None or source.files.get(name, 0) > LARGEST:
            continue
        try:
            names = read_classes(source.read(name), keys, name)
        except DataError:
            if wanted in CLASS_FILES:
                raise
            continue
        if not names or (wanted in OTHERS and not _fits(names, keys)):
            continue
        return names, f"class names taken from {name}"
    return None, ""


def _found(source: Source, wanted: str) -> str | None:
    """The file of that name at the top, or in the one folder that holds it."""
    if isinstance(source, ListFolder):
        return source.there(wanted)
    if wanted in source.files:
        return wanted
    inside = [file for file in source.files if file.endswith(f"/{wanted}") and file.count("/") == 1]
    return inside[0] if len(inside) == 1 and ending(inside[0]) else None


def _fits(names: Mapping[str, str] | Sequence[str], keys: Sequence[str]) -> bool:
    if isinstance(names, Mapping):
        return {composed(key) for key in keys} <= {composed(key) for key in names}
    return all(key.isdigit() for key in keys) and len(names) == len(keys)
