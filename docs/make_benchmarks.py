"""Writes the tables of docs/benchmarks.md from what `benchmarks/step.py --json` printed.

    python benchmarks/step.py --json >> rows.jsonl
    python docs/make_benchmarks.py rows.jsonl

Rows of the same method, classes, precision and machine: the last one counts.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from reporting import read_rows, write_part

PAGE = Path(__file__).with_name("benchmarks.md")


def seconds(value: float | None) -> str:
    if value is None:
        return "not run"
    return f"{1000 * value:.1f} ms" if value < 1 else f"{value:.2f} s"


def megabytes(value: float | None) -> str:
    return "not run" if value is None else f"{value:.0f} MB"


def line(row: dict[str, Any]) -> str:
    speedup = "" if row["speedup"] is None else f"**{row['speedup']:.1f}x**"
    cells = [
        f"`{row['method']}`",
        str(row["classes"]),
        str(row["batch"]),
        row["precision"],
        seconds(row["plain_s"]),
        seconds(row["fast_s"]),
        speedup,
        megabytes(row["plain_peak_mb"]),
        megabytes(row["fast_peak_mb"]),
        f"{row['fast_gflop']:.0f}",
        f"{100 * row['share_of_gemm']:.0f} %",
    ]
    return f"| {' | '.join(cells)} |"


def place_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["machine"], row["device"], row["threads"], row.get("clock", "wall")


def tables(rows: list[dict[str, Any]]) -> str:
    """One table per machine."""
    latest = {(place_of(r), r["method"], r["classes"], r["precision"]): r for r in rows}
    places: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for (place, *_), row in latest.items():
        places.setdefault(place, []).append(row)
    parts = []
    for (name, device, threads, clock), found in places.items():
        where = f"{threads} thread{'' if threads == 1 else 's'}" if device == "cpu" else device
        where += ", seconds of the processor" if clock == "processor" else ""
        parts.append(f"### {name}, {where}\n")
        parts.append(
            "| method | classes | batch | precision | published way | here | faster | memory, published way "
            "| memory, here | Gflop | share of a matrix product's rate |\n|" + "---|" * 11
        )
        parts += [line(row) for row in found]
        parts.append("")
    return "\n".join(parts) + "\n"


def main() -> None:
    write_part(PAGE, "steps", tables(read_rows(sys.argv[1:])))


if __name__ == "__main__":
    main()
