"""Weight files to state dicts, without ever running code that a file carries.

What a file is, its content says, not its name. Safetensors hold no code. Pickled files are read with `weights_only`;
checkpoints that hold more than tensors by a reader that makes nothing but tensors (`pickled.py`). The TorchScript
archives that OpenAI released are zip files with a pickle; theirs is read by an unpickler that knows
tensors and empty records and refuses everything else, so no module, function or script is run.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlprompt.backbones.weights.pickled import (
    REPEATED,
    check_entries,
    check_pickle,
    open_pickled,
    read_entry,
    tensors_by_name,
)
from vlprompt.backbones.weights.unwrapping import unwrapped
from vlprompt.errors import BackboneError, RunError
from vlprompt.files import check_regular, read_json

LARGEST = 1 << 40  # bytes of a file of weights
MOST_VALUES, DEEPEST = 100_000, 50  # of the modules of a TorchScript archive
TO_SAFETENSORS = "convert it to safetensors with the program that wrote it"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """State dict of a file of safetensors, its .index.json (sharded), or a file that torch wrote; of a training
    checkpoint the network alone."""
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    try:
        check_regular(path, LARGEST)
        if is_safetensors(path):
            from safetensors.torch import load_file

            return unwrapped(load_file(path), Tensor)
        state = read_torchscript(path) if is_torchscript(path) else _plain(_loaded(path), path)
        check_claims(state, path)
        return state
    except pickle.UnpicklingError as error:
        state = _among_others(path)
        if not state:
            raise BackboneError(
                f"{path} holds more than tensors and was not opened, because that could run code: {TO_SAFETENSORS}"
            ) from error
        return state
    except BackboneError:
        raise
    except Exception as error:  # damaged files raise whatever they happen to hit
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BackboneError(f"cannot read weights {path}: {reason}") from error


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        named = set(read_json(index)["weight_map"].values())
        shards = sorted(name for name in named if isinstance(name, str))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(f"cannot read the list of weight files {index}: {error}") from error
    if len(shards) < len(named) or any(name.endswith(".index.json") or len(name) > 255 for name in shards):
        raise BackboneError(f"{index} names what is no file of weights")
    state: dict[str, Tensor] = {}
    for shard in shards:
        if Path(shard).name != shard:
            raise BackboneError(f"{index} names a file outside its folder: {shard}")
        if not (index.parent / shard).is_file():
            raise BackboneError(f"{index} names {shard}, which is not there: download the model again")
        state |= read_tensors(index.parent / shard)
    return state


def _loaded(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def check_claims(state: Mapping[str, Tensor], path: Path) -> None:
    """BackboneError if tensors are larger than what is stored for them, which a stride of 0 or a shared storage allows."""
    together = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if together > REPEATED * path.stat().st_size + 2**20:
        raise BackboneError(
            f"{path}: its tensors share values again and again, to {together >> 20} MB in all"
        )


def is_safetensors(path: Path) -> bool:
    """Whether it begins as such files do: eight bytes that say how long the list of tensors is, and that list."""
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and length <= path.stat().st_size - 8


def _among_others(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint that holds objects of other kinds too, none of which is made; {} if there are none."""
    try:
        with open_pickled(path) as held:
            return {name: held.load(stored) for name, stored in tensors_by_name(held.content).items()}
    except RunError:
        return {}


def _plain(content: Any, path: Path) -> dict[str, Tensor]:
    """A state dict, perhaps inside a training checkpoint."""
    if not isinstance(content, Mapping) or not content:
        raise BackboneError(f"{path} is no state dict")
    tensors = unwrapped(content, Tensor)
    if not tensors:
        raise BackboneError(f"{path} holds no tensors by name")
    return tensors


def is_torchscript(path: Path) -> bool:
    """TorchScript archives hold code and constants beside the pickled module."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        check_entries(archive)
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers of a TorchScript archive by their dotted names; none of its code runs."""
    with zipfile.ZipFile(path) as archive:
        pickled = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
        if pickled is None:
            raise BackboneError(f"{path} is a TorchScript archive without data.pkl")
        data = read_entry(archive, pickled)
        check_pickle(data)
        module = _ModuleReader(io.BytesIO(data), archive, pickled.removesuffix("data.pkl")).load()
    if not isinstance(module, _Record):
        raise BackboneError(f"{path} is a TorchScript archive without a module")
    return dict(_named_tensors(module, "", [0]))


class _Record:
    """Stands for any scripted module: attributes and nothing else."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


class _ModuleReader(pickle.Unpickler):
    """Knows tensors, storages, scripted modules and plain containers."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(file)
        self._archive = archive
        self._prefix = prefix

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Record
        allowed: dict[tuple[str, str], Any] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "restore_type_tag"): _first,
            **{
                ("torch.jit._pickle", f"build_{kind}list"): list
                for kind in ("int", "tensor", "double", "bool")
            },
        }
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weight file")
        return allowed[module, name]

    def persistent_load(self, reference: Any) -> Tensor:
        """One storage as a flat tensor."""
        _, dtype, key, _, count = reference
        if not isinstance(dtype, torch.dtype) or "/" in key:
            raise pickle.UnpicklingError(f"storage {reference} is not known")
        data = bytearray(read_entry(self._archive, f"{self._prefix}data/{key}"))
        return torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)


_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
}


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if math.prod(size) > storage.numel():  # strides of 0 would repeat values without end
        raise ValueError(f"a tensor of shape {list(size)} is more than its {storage.numel()} stored values")
    return torch.as_strided(storage, size, stride, offset)


def _first(value: Any, *_: Any) -> Any:
    return value


def _named_tensors(module: Any, prefix: str, seen: list[int]) -> Iterator[tuple[str, Tensor]]:
    """seen: one number, of values looked at; modules that hold each other could be walked without end."""
    for name, value in vars(module).items():
        seen[0] += 1
        if seen[0] > MOST_VALUES or prefix.count(".") > DEEPEST:
            raise ValueError("modules that hold each other without end")
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Record):
            yield from _named_tensors(value, f"{prefix}{name}.", seen)
