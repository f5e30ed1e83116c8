"""Work in other processes and on other machines: the connection to a Ray cluster, and paths that hold there too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlprompt.errors import MissingExtra, OptionError


def ray_module() -> Any:
    """Ray; MissingExtra with the command that installs it."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("ray", "ray", "spreading work over a cluster") from error
    return ray


def connect(address: str) -> Any:
    """Ray, connected. address: host:port of the cluster's head, "auto" for the one of this machine, "local" for
    a new one of this machine alone."""
    ray = ray_module()
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level="warning")
        except (ConnectionError, ValueError, RuntimeError) as error:
            text = str(error).strip().splitlines() or [type(error).__name__]
            raise OptionError(f"--ray {address}: no cluster can be reached ({text[0]})") from error
    return ray


def absolute(value: Any) -> Any:
    """The absolute path, if the value is the path of something that exists."""
    return str(Path(value).resolve()) if isinstance(value, str) and value and Path(value).exists() else value
