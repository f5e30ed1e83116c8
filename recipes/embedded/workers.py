"""Several processes that train one model, each on its own pictures (data parallel).

Started by `torchrun`; without it every function here does nothing. On a busy CPU one thread in each
of two processes is several times as fast as two threads in one: threads meet at the end of every
operation and wait for whichever was interrupted, processes meet once a step.
"""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


def start(device: torch.device) -> None:
    """Join the other processes, if `torchrun` started us."""
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        # Long: a run may be suspended for a while.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=6))


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def average(tensors: list[Tensor]) -> None:
    """Replace tensors by their mean over the processes, in one message."""
    if count() == 1:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    flat /= count()
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def agreed(value: float, device: torch.device) -> float:
    """The first process's value."""
    if count() == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float32, device=device)
    dist.broadcast(tensor, 0)
    return tensor.item()
