"""Reading hostile files in processes of their own, whose memory can be measured."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

from vlprompt.errors import VlpromptError


def cost(pipe: Any, kind: str, path: Path) -> None:
    """Sends the MB that reading took at most, and "read" or the error."""
    job = {"pickled": _pickled, "weights": _weights, "archive": _archive, "dataset": _dataset}[kind]
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        job(path)
        said = "read"
    except VlpromptError as error:
        said = str(error).replace(str(path), "it")
    pipe.send(((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, said))


def _pickled(path: Path) -> None:
    from vlprompt.backbones.weights.pickled import open_pickled, tensors_by_name

    with open_pickled(path) as held:
        for stored in tensors_by_name(held.content).values():
            held.load(stored)


def _weights(path: Path) -> None:
    from vlprompt.backbones.weights.tensor_files import read_tensors

    for tensor in read_tensors(path).values():
        tensor.float().clone()


def _archive(path: Path) -> None:
    from vlprompt.data.archives import open_source

    source = open_source(path)
    for name in source.files:
        source.read(name)
    source.close()


def _dataset(path: Path) -> None:
    from vlprompt.data.opening import open_dataset

    dataset = open_dataset(path)
    dataset.read(dataset.all_items[0])
