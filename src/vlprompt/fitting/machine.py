"""What a run was made with and what it took: versions, machine, memory, seconds."""

from __future__ import annotations

import platform
import time

import torch

import vlprompt
from vlprompt.backbones.backbone import Backbone
from vlprompt.runs.info import MachineInfo


def versions() -> dict[str, str]:
    import numpy
    import PIL

    return {
        "vlprompt": vlprompt.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }


def peak_memory(device: torch.device) -> dict[str, float]:
    """MiB that this process has taken at most since it began, and of the device if it has memory of its own."""
    found = {}
    try:
        import resource
    except ImportError:  # not on Windows
        pass
    else:
        unit = 2**20 if platform.system() == "Darwin" else 2**10
        found["process_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
    if device.type == "cuda":
        found["device_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return found


def machine(backbone: Backbone) -> MachineInfo:
    name = (
        torch.cuda.get_device_name(backbone.device) if backbone.device.type == "cuda" else platform.machine()
    )
    return MachineInfo(backbone.device.type, name, torch.get_num_threads())


class Clock:
    """Seconds of the parts of a run, and `total_s`."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str, instead: float | None = None) -> None:
        """Ends a part; instead: its seconds, where earlier processes worked on it too."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last if instead is None else instead, 3)
        self.laps["total_s"] = round(sum(v for k, v in self.laps.items() if k != "total_s"), 3)
        self._last = now
