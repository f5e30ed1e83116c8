"""The demo: all methods on the pictures that come with the package, under one budget of time.

demo_settings  which methods, seeds and training settings, and where these come from
jobs           one training with its scores, as a process of its own does it
all_jobs       all jobs on all cores
demo_page      the report
"""

from __future__ import annotations

from typing import Any

__all__ = ["run_demo"]


def __getattr__(name: str) -> Any:
    if name == "run_demo":
        from vlprompt.demo.all_trainings import run_demo

        return run_demo
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
