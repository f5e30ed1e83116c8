"""Writes the table of docs/serving.md from what `benchmarks/serve.py` printed.

    python docs/make_serving.py rows.jsonl

Rows of the same machine, batch size and number of clients: the last one counts.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("serving.md")
PART = re.compile(r"(<!-- table: load -->\n).*?(<!-- end -->)", re.DOTALL)


def tables(rows: list[dict[str, Any]]) -> str:
    """One table per machine."""
    latest = {(r["machine"], r["note"], r["max_batch_size"], r["clients"]): r for r in rows}
    parts = []
    for machine, note in dict.fromkeys(key[:2] for key in latest):
        parts.append(f"{machine}{'; ' + note if note else ''}:\n")
        parts.append("| max_batch_size | clients | requests/s | p50 | p95 | p99 | requests | refused |\n|" + "---|" * 8)
        for row in (r for key, r in latest.items() if key[:2] == (machine, note)):
            times = " | ".join(f"{row[f'p{p}_ms']:.0f} ms" for p in (50, 95, 99))
            parts.append(f"| {row['max_batch_size']} | {row['clients']} | {row['requests_per_s']} | {times} "
                         f"| {row['requests']} | {row['refused']} |")  # fmt: skip
        parts.append("")
    return "\n".join(parts) + "\n"


def main() -> None:
    texts = "\n".join(Path(name).read_text(encoding="utf-8") for name in sys.argv[1:]).splitlines()
    rows = [json.loads(text) for text in texts if text.strip().startswith("{")]
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(PART.sub(lambda part: part[1] + tables(rows) + part[2], page), encoding="utf-8")


if __name__ == "__main__":
    main()
