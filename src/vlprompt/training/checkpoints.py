"""Checkpoints: everything a run needs to go on after an interruption, in one file that is replaced at once.

The order of pictures and their views are pure functions of the seed and the epoch, so that learned
tensors, optimiser buffers and two counters are all there is to keep.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vlprompt.files import check_regular, parse_json, write_atomically
from vlprompt.training.optimizers import Optimizer

FILE = "checkpoint.safetensors"


@dataclass
class State:
    """Where a run stands: `epoch` and `step` to do next, and values as `part.name` -> tensor.

    numbers: plain JSON values that belong to the state (running sums, best score so far).
    """

    epoch: int = 0
    step: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        return {k[len(name) + 1 :]: v for k, v in self.tensors.items() if k.startswith(f"{name}.")}


class Checkpoints:
    """The checkpoint file of one run folder.

    settings: what identifies the run; a checkpoint with other settings is not used.
    every: seconds between two of them. on_trouble: told once if the disk cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        settings: str,
        *,
        every: float = 15.0,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self.path = folder / FILE
        self.settings = settings
        self.every = every
        self.on_trouble = on_trouble
        self._last = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self._last >= self.every

    def save(self, state: State) -> bool:
        """Writes the file; whether it could be."""
        about = {
            "epoch": state.epoch,
            "step": state.step,
            "numbers": state.numbers,
            "settings": self.settings,
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
        written = False
        try:
            text = json.dumps(about)
            held = {"state": text, "check": check_sum(text, tensors)}
            write_atomically(self.path, save(tensors, metadata=held))
            written = True
        except OSError as error:
            if self.on_trouble is not None:
                self.on_trouble(
                    f"no checkpoint can be written to {self.path.parent} ({error.strerror}); going on"
                )
                self.on_trouble = None
        self._last = time.monotonic()
        return written

    def load(self) -> State | None:
        """The state to go on from; None without a usable checkpoint of the same settings."""
        found = read(self.path)
        return found[0] if found is not None and found[1] == self.settings else None

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)


def read(path: Path) -> tuple[State, str] | None:
    """State and settings of a checkpoint file; None if it is missing or damaged."""
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            held = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if held["check"] != check_sum(held["state"], tensors):
            return None
        about = parse_json(held["state"])
        state = State(about["epoch"], about["step"], tensors, about["numbers"])
        whole = isinstance(about["settings"], str) and isinstance(state.numbers, dict)
        counts = all(type(count) is int and count >= 0 for count in (state.epoch, state.step))
        return (state, about["settings"]) if whole and counts else None  # the sum can be right of any content
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def check_sum(text: str, tensors: dict[str, Tensor]) -> str:
    """Of a checkpoint's content; the file format itself notices a wrong length, but no wrong value."""
    found = hashlib.blake2b(text.encode(), digest_size=16)
    for name, value in sorted(tensors.items()):
        found.update(f"|{name}|{value.dtype}|{list(value.shape)}|".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return found.hexdigest()


def pack(method: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Learned tensors, buffers that only the training needs, and optimiser buffers, under one set of names."""
    tensors = {f"method.{name}": value for name, value in method.state_dict().items()}
    tensors |= {f"training.{name}": value for name, value in training_buffers(method).items()}
    for name, parameter in method.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    return tensors


def training_buffers(method: nn.Module) -> dict[str, Tensor]:
    """Buffers that are no part of what is saved with a run (`register_buffer(..., persistent=False)`)."""
    saved = method.state_dict()
    return {name: value for name, value in method.named_buffers() if name not in saved}


def unpack(state: State, method: nn.Module, optimizer: Optimizer) -> None:
    """Puts the values of `pack` back."""
    method.load_state_dict(state.part("method"))
    held = state.part("training")
    with torch.no_grad():
        for name, buffer in training_buffers(method).items():
            if name in held:
                buffer.copy_(held[name])
    parameters = dict(method.named_parameters())
    for full, value in state.part("optimizer").items():
        key, name = full.split(".", 1)
        own = parameters[name]
        # counters of AdamW stay on the CPU
        optimizer.state[own][key] = value.to(own.device) if value.dim() else value
