"""Many classes at once: from a zip or tar archive, a permitted folder, or the pictures of the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlprompt.data.dataset import Dataset, Item
from vlprompt.data.opening import open_dataset
from vlprompt.data.sources import Source
from vlprompt.errors import DataError, PictureError
from vlprompt.studio.limits import confined
from vlprompt.studio.tab_sessions import Session, Shown

EXAMPLES = ("apple", "banana", "carrot", "lemon", "mushroom", "tomato")
EXAMPLE_PICTURES = 12  # of each class


def bring_examples(session: Session) -> list[str]:
    """A few classes of the demo pictures."""
    with open_dataset("demo") as dataset:
        train = dataset.items("train")
        chosen = []
        for name in EXAMPLES:
            own = [item for item in train if dataset.class_names[item.label] == name]
            chosen += own[:: max(1, len(own) // EXAMPLE_PICTURES)][:EXAMPLE_PICTURES]
        return _bring(session, dataset, chosen)


def bring_archive(session: Session, path: Path) -> list[str]:
    """Classes and pictures of an archive of class folders; says what was left out."""
    with _opened(path) as dataset:
        return _bring(session, dataset, dataset.all_items)


def bring_folder(session: Session, path: str, allowed: Sequence[Path]) -> list[str]:
    """The same from a folder on this machine, if the studio was started with leave to read it."""
    if not allowed:
        raise DataError(
            "folders of this machine are closed: start the studio with --allow-folder DIR to open one"
        )
    for folder in allowed:
        try:
            real = confined(path, folder)
        except DataError:
            continue
        if not real.is_dir():
            raise DataError(f"{path}: there is no such folder")
        with _opened(real) as dataset:
            return _bring(session, dataset, dataset.all_items, within=folder)
    names = ", ".join(map(str, allowed))
    raise DataError(f"{path}: only folders below {names} may be read")


def _opened(path: Path) -> Dataset:
    """A class may come alone, to join those that are there, and what is kept aside is drawn before a training."""
    return open_dataset(path, least_classes=1, val_fraction=0.0, test_fraction=0.0)


def _bring(
    session: Session, dataset: Dataset, items: Sequence[Item], within: Path | None = None
) -> list[str]:
    """Copies pictures into the session. within: no picture may lie elsewhere, as lists and links can say."""
    notes = list(dataset.notices)
    by_label: dict[int, list[Item]] = {}
    for item in items:
        by_label.setdefault(item.label, []).append(item)
    for label, own in sorted(by_label.items()):
        shown = _class_of(session, dataset.class_names[label])
        for item in own:
            name = item.path.rsplit("/", 1)[-1]
            if within is not None and not _is_within(dataset, item, within):
                notes.append(f"{name}: lies outside of {within}")
                continue
            try:
                if dataset.source.files.get(item.path, 0) > session.limits.picture_bytes:
                    raise PictureError(f"{name}: larger than a picture may be")
                notes += session.add_pictures(shown, [(name, dataset.read(item))])
            except PictureError as error:
                notes.append(str(error))
    return notes


def _is_within(dataset: Dataset, item: Item, folder: Path) -> bool:
    """Whether a picture of a data set that was read from a folder really lies in it."""
    source = dataset.source
    try:
        return isinstance(source, Source) and bool(confined(source.path / item.path, folder))
    except DataError:
        return False


def _class_of(session: Session, name: str) -> Shown:
    """The class of that name, made if need be."""
    words = session.limits.check_name(name)
    for shown in session.classes:
        if shown.name.casefold() == words.casefold():
            return shown
    return session.add_class(words)
