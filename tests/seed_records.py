"""Records as the protocols write them."""

from __future__ import annotations

from typing import Any


def record(protocol: str = "few_shot", method: str = "coop", seed: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "data": "fruit",
        "method": method,
        "backbone": "tiny",
        "shots": 16,
        "seed": seed,
        "seconds": 1.0,
        "total_seconds": 2.0,
        "folder": None,
    } | more


def base_new(base: float, new: float, method: str = "coop", seed: int = 1, **more: Any) -> dict[str, Any]:
    values = {"base": base, "new": new, "harmonic_mean": 2 * base * new / (base + new), "all": base / 2}
    zero_shot = {"base": 60.0, "new": 70.0, "harmonic_mean": 2 * 60 * 70 / 130, "all": 50.0}
    return record("base_to_new", method, seed, **values, zero_shot=zero_shot) | more
