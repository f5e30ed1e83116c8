"""Writes the table of docs/serving.md from what `benchmarks/serve.py` printed.

    python docs/make_serving.py rows.jsonl

Rows of the same machine, batch size and number of clients: the last one counts.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from reporting import read_rows, write_part

PAGE = Path(__file__).with_name("serving.md")


def tables(rows: list[dict[str, Any]]) -> str:
    """One table per machine."""
    latest = {(r["machine"], r["note"], r["max_batch_size"], r["clients"]): r for r in rows}
    parts = []
    for machine, note in dict.fromkeys(key[:2] for key in latest):
        parts.append(f"{machine}{'; ' + note if note else ''}:\n")
        parts.append(
            "| max_batch_size | clients | requests/s | p50 | p95 | p99 | requests | refused |\n|" + "---|" * 8
        )
        for row in (r for key, r in latest.items() if key[:2] == (machine, note)):
            times = " | ".join(f"{row[f'p{p}_ms']:.0f} ms" for p in (50, 95, 99))
            parts.append(
                f"| {row['max_batch_size']} | {row['clients']} | {row['requests_per_s']} | {times} "
                f"| {row['requests']} | {row['refused']} |"
            )
        parts.append("")
    return "\n".join(parts) + "\n"


def main() -> None:
    write_part(PAGE, "load", tables(read_rows(sys.argv[1:])))


if __name__ == "__main__":
    main()
