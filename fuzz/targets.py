"""What is fuzzed: each target takes the bytes of a case, reads them and checks what comes back.

It may return or raise a VlpromptError; anything else is a finding. Used by harness.py and by the tests.
"""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import seeds

from vlprompt.data import archives, formats, naming, opening, pictures
from vlprompt.data import list_files as tables
from vlprompt.errors import VlpromptError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.runs import records

_PLACE = Path(tempfile.mkdtemp(prefix="vlprompt-fuzz-"))
atexit.register(shutil.rmtree, _PLACE, ignore_errors=True)
FOLDER = (
    _PLACE / "a" / "b"
)  # lists are looked for in the folder above too, which would be that of all temporary files
FOLDER.mkdir(parents=True)
PATH = FOLDER / "case"
CANARY = FOLDER / "canary"


def written(data: bytes, name: str = "case") -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    return path


def read_pictures(data: bytes) -> None:
    image = pictures.open_picture(data, most_pixels=10**6)
    assert image.mode == "RGB" and image.width * image.height > 0


def read_archives(data: bytes) -> None:
    """No entry leads outside, and reading never gives more than was listed."""
    path = written(data)
    if not archives.is_archive(path):
        return
    source = archives.open_source(path)
    try:
        for name, size in list(source.files.items())[:20]:
            assert name and not name.startswith("/") and ".." not in name.split("/"), name
            try:
                assert len(source.read(name)) == size
            except VlpromptError:
                continue
        opening.open_dataset(path)
    finally:
        source.close()


def read_lists(data: bytes) -> None:
    kind, data = data[:1], data[1:]
    if kind == b"c":
        naming.class_names(["a", "b"], naming.read_classes(data, ["a", "b"], "classes.txt"))
    elif kind == b"s":
        tables.read_split_file(data, "split.json", {"a/1.jpg": 1, "b/2.jpg": 1})
    else:
        (FOLDER / "a.jpg").write_bytes(b"")
        (FOLDER / "b.jpg").write_bytes(b"")
        opening.open_dataset(written(data, "list.csv"))
        formats.read_place(formats.Place(FOLDER, FOLDER / "list.csv"))


def read_json(data: bytes) -> None:
    from vlprompt.fitting.recipes import load_recipe

    kind, path = data[:1], written(data[1:])
    if kind == b"l":
        records.read_log(path)
    elif kind == b"r":
        records.read(path)
    else:
        load_recipe(path)


def read_sweeps(data: bytes) -> None:
    from vlprompt.sweeps.sweep_file import read_sweep

    read_sweep(written(data))


def read_runs(data: bytes) -> None:
    """A byte chooses which file of a run is damaged."""
    from vlprompt.runs.run import Run

    which, data = data[:1], data[1:]
    folder = seeds.run_folder(FOLDER / "run")
    (folder / {b"t": "prompts.safetensors", b"l": "log.jsonl"}.get(which, "run.json")).write_bytes(data)
    if which == b"t":  # with the hash that belongs to it, so that the tensors themselves are read
        seeds.rehash(folder)
    run = Run.load(folder, seeds.backbone())
    assert run.class_names


def read_checkpoints(data: bytes) -> None:
    from vlprompt.backbones.weights.pickled import open_pickled, tensors_by_name
    from vlprompt.backbones.weights.tensor_files import read_tensors
    from vlprompt.errors import RunError

    path = written(data, "case.pt")
    try:
        with open_pickled(path) as held:
            for stored in tensors_by_name(held.content).values():
                held.load(stored)
    except RunError:
        pass
    try:
        read_tensors(path)
    finally:
        assert not CANARY.exists(), "a checkpoint ran code"


def read_cache(data: bytes) -> None:
    """Whatever happens to the file, what it gives is what was put."""
    folder = FOLDER / "cache"
    path = seeds.cache_file(folder)
    whole = bytearray(path.read_bytes())
    chance = random.Random(data)
    for place in range(min(len(data), 64)):
        whole[chance.randrange(len(whole))] = data[place]
    path.write_bytes(whole if len(data) % 5 else whole[: chance.randrange(len(whole))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache = FeatureCache(folder)
        for key, value in zip(seeds.KEYS, cache.get_many(seeds.KEYS), strict=True):
            assert value is None or (value == seeds.value_of(key)).all()
        cache.put_many([(key, seeds.value_of(key)) for key in seeds.KEYS[:2]])
        cache.close()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "pictures": read_pictures,
    "archives": read_archives,
    "lists": read_lists,
    "json_readers": read_json,
    "sweeps": read_sweeps,
    "runs": read_runs,
    "checkpoints": read_checkpoints,
    "cache": read_cache,
}


def once(name: str, data: bytes) -> bool:
    """One case; whether it was read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TARGETS[name](data)
    except VlpromptError:
        return False
    return True
