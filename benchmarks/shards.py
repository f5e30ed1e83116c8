"""embed and predict on a large collection: pictures per second in one process, and on a Ray cluster of this machine.

    python benchmarks/shards.py photos/ --json                  all pictures below a folder
    python benchmarks/shards.py photos/ --run runs/x --json     predict too
    python benchmarks/shards.py --table rows.jsonl              rows as the table of docs/scaling.md

Both sides write the same parquet files. One process decodes with a thread per core while the tower works, with
`--threads` threads of matrix products; on Ray, that many workers have one each. The cluster runs before the clock
starts, and each side gets its backbone once before: what is compared is a collection that takes hours, not a
start. (`start_s` of Ray: from the call to the first shard.) The two take turns; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reporting import processor, read_rows, write_part

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"


def timed(
    work: str, pictures: list[str], run: str, shard: int, ray: str | None, workers: int
) -> tuple[float, float]:
    """Pictures per second once all workers have done a shard, and seconds until the first shard."""
    from vlprompt.collections import embedding, predicting

    ends: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as out:
        more: dict[str, Any] = {
            "shard": shard,
            "ray": ray,
            "on_shard": lambda part, _: ends.append((time.perf_counter(), len(part.pictures))),
        }
        began = time.perf_counter()
        if work == "embed":
            embedding.embed(pictures, out, **more)
        else:
            predicting.predict(run, pictures, out, **more)
    rest = ends[workers:]
    return sum(count for _, count in rest) / (rest[-1][0] - ends[workers - 1][0]), ends[0][0] - began


def rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    import torch

    from vlprompt.data.folder_layouts import is_picture

    torch.set_num_threads(args.threads)
    found = sorted(str(path) for path in args.pictures.rglob("*") if is_picture(path.name))
    pictures = found * (1 + (args.count - 1) // len(found)) if args.count else found
    pictures = pictures[: args.count or None]
    shard = max(1, len(pictures) // (args.threads * 8))
    made = []
    for work in ("embed", "predict") if args.run else ("embed",):
        timed(work, pictures[: 2 * shard], args.run, shard, None, 1)  # imports, backbone
        results: dict[str, list[tuple[float, float]]] = {"one process": [], "ray": []}
        for _ in range(args.repeats):
            for side, address in (("one process", None), ("ray", args.ray)):
                results[side].append(timed(work, pictures, args.run, shard, address, args.threads))
        for side, own in results.items():
            made.append(
                {
                    "work": work,
                    "side": side,
                    "pictures": len(pictures),
                    "shard": shard,
                    "workers": args.threads,
                    "pictures_per_s": round(statistics.median(rate for rate, _ in own), 1),
                    "start_s": round(statistics.median(start for _, start in own), 2),
                    "repeats": args.repeats,
                    "machine": processor(),
                }
            )
    return made


def table(found: list[dict[str, Any]]) -> str:
    lines = ["| command | pictures | how | pictures/s | until the first shard |", "|---|---|---|---|---|"]
    for row in found:
        how = (
            f"one process, {row['workers']} threads"
            if row["side"] != "ray"
            else f"Ray, {row['workers']} workers of one thread"
        )
        lines.append(
            f"| `{row['work']}` | {row['pictures']} | {how} | {row['pictures_per_s']:g} | {row['start_s']:.1f} s |"
        )
    return (
        f"{found[0]['machine']}, {found[0]['workers']} cores, embedded backbone:\n\n"
        + "\n".join(lines)
        + "\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=0, help="pictures, taken again and again; 0: each once")
    parser.add_argument("--run", help="a run folder: predict as well")
    parser.add_argument("--ray", default="local", help="address of a cluster on this machine")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--table", type=Path)
    args = parser.parse_args()
    if args.table:
        write_part(PAGE, "shards", table(read_rows([args.table])))
        return 0
    if args.pictures is None:
        parser.error("give a folder of pictures")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from vlprompt.sweeps.ray_workers import connect

    connect(args.ray)
    for row in rows(args):
        print(json.dumps(row) if args.json else row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
