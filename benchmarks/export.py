"""Exported files beside torch: milliseconds per batch, difference, size.

    python benchmarks/export.py --json                          methods on the embedded backbone
    python benchmarks/export.py --run runs/x --batches 1,8 --json
    python benchmarks/export.py --table rows.jsonl              rows as the table of docs/export.md

torch: the run's method on one batch, from uint8 crops to probabilities; text features
that do not depend on the picture are computed once, as the run does. onnx: the file in onnxruntime on the CPU. Both use the same number of threads and take turns, batch by batch, so that other load
on the machine meets both; times are medians. What is learned does not change what is computed: methods are
timed as they start. `difference`: largest of the probabilities.
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

METHODS = ("zeroshot", "maple", "tip_adapter", "cocoop", "ctp+tft")
NAMES = (
    "cat",
    "dog",
    "red apple",
    "green pear",
    "snow leopard",
    "school bus",
    "tulip",
    "violin",
    "teapot",
    "comet",
)
PAGE = Path(__file__).resolve().parents[1] / "docs" / "export.md"


def run_of(method: str, source: str) -> Any:
    """An untrained run of ten classes; Tip-Adapter remembers sixteen random features of each."""
    import torch

    from vlprompt import load_backbone, methods
    from vlprompt.data.task import Task
    from vlprompt.runs.run import Run

    backbone = load_backbone(source)
    built = methods.load(method).build(backbone, Task(NAMES, shots=16)).eval()
    if method.startswith("tip_adapter"):
        labels = torch.arange(16 * len(NAMES)) % len(NAMES)
        features = torch.nn.functional.normalize(torch.randn(1, len(labels), backbone.embed_dim), dim=-1)
        built.prepare(features, labels, features[0, :0], labels[:0])
    return Run(built, backbone, {"method": method})


def rows_of(run: Any, batches: list[int], repeats: int, threads: int) -> list[dict[str, Any]]:
    """One row per batch size."""
    import onnxruntime
    import torch

    from vlprompt.runs.exporting.checking import in_torch, noise
    from vlprompt.runs.exporting.export import export

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        found = export(run, Path(folder) / "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(found.path), options, providers=["CPUExecutionProvider"])
        rows = []
        for batch in batches:
            crops = noise(run, batch)
            ways = {
                "torch": lambda c=crops: in_torch(run, c),
                "onnx": lambda c=crops: session.run(None, {"pictures": c}),
            }
            times: dict[str, list[float]] = {name: [] for name in ways}
            outputs = {name: way() for name, way in ways.items()}  # warm
            for _ in range(repeats):
                for name, way in ways.items():
                    began = time.perf_counter()
                    way()
                    times[name].append(1000 * (time.perf_counter() - began))
            rows.append(
                {
                    "method": run.info.method,
                    "backbone": run.backbone.name,
                    "classes": len(run.class_names),
                    "batch": batch,
                    "torch_ms": round(statistics.median(times["torch"]), 2),
                    "onnx_ms": round(statistics.median(times["onnx"]), 2),
                    "difference": float(abs(outputs["torch"][1] - outputs["onnx"][1]).max()),
                    "file_mb": round(found.size / 1e6, 2),
                    "threads": threads,
                    "machine": processor(),
                    "load": round(os.getloadavg()[0], 1),
                    "torch": torch.__version__,
                    "onnxruntime": onnxruntime.__version__,
                }
            )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, one part per machine."""
    parts = []
    for place in dict.fromkeys((r["machine"], r["threads"], r["backbone"]) for r in rows):
        here = [r for r in rows if (r["machine"], r["threads"], r["backbone"]) == place]
        loads = sorted(r["load"] for r in here)
        parts.append(f"### {place[0]}, {place[1]} thread{'s' if place[1] > 1 else ''}, backbone {place[2]}\n")
        parts.append(
            f"torch {here[-1]['torch']}, onnxruntime {here[-1]['onnxruntime']}; load average of the machine "
            f"{loads[0]:g} to {loads[-1]:g}.\n"
        )
        parts.append(
            "| method | classes | batch | torch | ONNX | largest difference | file |\n|" + "---|" * 7
        )
        parts += [
            f"| `{r['method']}` | {r['classes']} | {r['batch']} | {r['torch_ms']:.1f} ms | {r['onnx_ms']:.1f} ms | "
            f"{r['difference']:.1g} | {r['file_mb']:.1f} MB |"
            for r in here
        ]
        parts.append("")
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--run", help="a run folder instead of untrained methods")
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--table", metavar="ROWS", help="write these rows into docs/export.md, and measure nothing"
    )
    given = parser.parse_args()
    if given.table:
        write_part(PAGE, "export", table(read_rows([given.table])))
        return
    from vlprompt.runs.run import Run

    batches = [int(text) for text in given.batches.split(",")]
    held = [Run.load(given.run, device="cpu", precision="float32")] if given.run else None
    for run in held or (run_of(name, given.backbone) for name in given.methods.split(",")):
        for row in rows_of(run, batches, given.repeats, given.threads):
            print(json.dumps(row) if given.json else table([row]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
