"""Grids as TOML files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_toml(path: Path, grid: dict[str, Any]) -> Path:
    """The few kinds of values that grids hold; tables come last."""

    def value(v: Any) -> str:
        return (
            "{ " + ", ".join(f"{k} = {value(w)}" for k, w in v.items()) + " }"
            if isinstance(v, dict)
            else json.dumps(v)
        )

    plain = [f"{key} = {value(v)}" for key, v in grid.items() if not isinstance(v, dict)]
    tables = [f"{key} = {value(v)}" for key, v in grid.items() if isinstance(v, dict)]
    path.write_text("\n".join(plain + tables) + "\n")
    return path
