"""Tensors out of a training checkpoint, without running anything that it pickles.

`torch.save` writes a zip file with one pickle and the bytes of every storage. A checkpoint holds optimiser
and schedule objects beside its tensors, for which torch's own `weights_only` reader refuses the whole file.
Here every class or function that the pickle names is replaced by one that does nothing, except those that
say where a tensor lies; bytes are read for the tensors that are asked for, and for no others.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlprompt.backbones.weights.unwrapping import unwrapped
from vlprompt.errors import RunError

DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
REPEATED = 4  # how often a file may use each of its bytes; tied weights do twice
MOST_CONTAINERS = 1_000_000  # filled by one pickle


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies in the file: storage, first element, shape and strides in elements."""

    dtype: torch.dtype
    key: str
    offset: int = 0
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()


class Ignored:
    """Stands for every object that is not needed: takes anything, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __new__(cls, *args: Any, **kwargs: Any) -> Ignored:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass


def _tensor(storage: Any, offset: Any = 0, size: Any = (), stride: Any = (), *_: Any) -> Any:
    if not isinstance(storage, Stored):
        return Ignored()
    return Stored(storage.dtype, storage.key, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _parameter(data: Any, *_: Any) -> Any:
    return data


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        check_pickle(data)
        super().__init__(io.BytesIO(data))

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        return ALLOWED.get((module, name), Ignored)

    def persistent_load(self, reference: Any) -> Any:
        """("storage", type, key, device, count): a whole storage."""
        if (
            not isinstance(reference, tuple)
            or len(reference) < 3
            or not isinstance(reference[1], torch.dtype)
        ):
            return Ignored()
        return Stored(reference[1], str(reference[2]))


def check_pickle(data: bytes) -> None:
    """ValueError for a pickle that claims more than it holds; what it names is not looked at.

    An unpickler makes room for the highest number under which it is told to remember something, and doubles what is
    repeated from memory: each of a hundred bytes can be a list of all before it.
    """
    copies = 0
    for code, argument, place in pickletools.genops(data):
        number = argument if isinstance(argument, int) else 0
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= number <= len(data):
            raise ValueError(f"it remembers values under numbers up to {number}, of {len(data)} bytes")
        if code.name in ("EXT1", "EXT2", "EXT4"):
            raise ValueError("it asks for a registered extension")
        copies += code.name in ("APPENDS", "SETITEMS", "ADDITEMS", "DUP", "FROZENSET")
        if place is not None and code.stack_before and copies > MOST_CONTAINERS:
            raise ValueError(f"it fills more than {MOST_CONTAINERS} containers")


@dataclass(frozen=True)
class Pickled:
    """content: what the file holds, with `Stored` for tensors and `Ignored` for what was not read."""

    content: Any
    load: Callable[[Stored], Tensor]


@contextmanager
def open_pickled(path: Path) -> Iterator[Pickled]:
    """The content of a file that `torch.save` wrote; RunError if it is none, or damaged."""
    if not path.is_file():
        raise RunError(f"{path}: there is no such file")
    with _damaged(path):
        zipped = zipfile.is_zipfile(path)
    if not zipped:
        raise RunError(
            f"{path}: not a whole file in the zip format that torch.save has written since torch 1.6; only if it is "
            "an older checkpoint from somebody you trust, convert it: torch.load runs what such a file tells it to"
        )
    with _damaged(path):
        archive = zipfile.ZipFile(path)
    with archive:
        with _damaged(path):
            check_entries(archive)
        name = next((n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl"), None)
        if name is None:
            raise RunError(f"{path}: a zip file, but not one that torch.save wrote (no data.pkl in it)")
        folder = name.removesuffix("data.pkl")
        with _damaged(path):
            content = _Reader(read_entry(archive, name)).load()

        whole, left = path.stat().st_size, [REPEATED * path.stat().st_size + 2**20]

        def load(stored: Stored) -> Tensor:
            with _damaged(path):
                tensor, read = _read(archive, folder, stored)
                left[0] -= read
                if left[0] < 0:
                    raise ValueError(
                        f"its tensors share values again and again: more than {REPEATED} x {whole} bytes"
                    )
                return tensor

        yield Pickled(content, load)


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Damaged files raise whatever they happen to hit."""
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path}: damaged, cannot be read ({reason})") from error


def check_entries(archive: zipfile.ZipFile) -> None:
    """ValueError if all entries together are more than the archive, as only packed or shared ones can be."""
    together = sum(info.file_size for info in archive.infolist())
    if together > archive.start_dir:
        raise ValueError(f"it unpacks to {together} bytes, more than the file holds")


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """One entry of an archive; ValueError if it unpacks to more than the archive, which torch never packs."""
    info = archive.getinfo(name)
    whole = archive.start_dir  # where the list of entries begins
    if info.file_size > whole:
        raise ValueError(f"{name} unpacks to {info.file_size} bytes, more than the file holds")
    return archive.read(info)


def _read(archive: zipfile.ZipFile, folder: str, stored: Stored) -> tuple[Tensor, int]:
    """One tensor, copied out of its storage, and the bytes that were read; ValueError if it reaches beyond it."""
    if "/" in stored.key:
        raise ValueError(f"no storage {stored.key!r}")
    data = bytearray(read_entry(archive, f"{folder}data/{stored.key}"))
    if not prod(stored.shape):
        return torch.empty(stored.shape, dtype=stored.dtype), len(data)
    last = stored.offset + sum((n - 1) * s for n, s in zip(stored.shape, stored.stride, strict=True))
    flat = torch.frombuffer(data, dtype=stored.dtype)
    beyond = min(stored.offset, *stored.shape, *stored.stride, 0) < 0 or last >= len(flat)
    if beyond or prod(stored.shape) > len(flat):  # strides of 0 would repeat values without end
        raise ValueError(
            f"a tensor of shape {list(stored.shape)} reaches beyond its {len(flat)} stored values"
        )
    return flat.as_strided(stored.shape, stored.stride, stored.offset).clone(), len(data)


def tensors_by_name(content: Any) -> dict[str, Stored]:
    """The tensors of a state dict, bare or in a checkpoint, under names without those of wrappers."""
    return unwrapped(content, Stored)
