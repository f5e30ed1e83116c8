"""All that is to be seen on a GPU, in one go, within a time limit; what is done is not done again.

    python benchmarks/gpu.py --out gpu                 everything, on cuda
    python benchmarks/gpu.py --out gpu --parts steps --classes 100

contract   every check of `vlprompt.contract` for every method, on the embedded backbone in float32
fp16       200 steps of every method, on the embedded backbone in fp16 and bf16: no loss that is not finite
steps      `step.py`: 100 and 1,000 classes in float32, float32 with TF32, bf16 and fp16, with peak device memory
embedded   the training of the embedded backbone (recipes/embedded/run.py), where --embedded gives its flags

Writes OUT/PART.jsonl, a line for each method or row, and prints one line each; exit code 1 where something did not hold.
`--device cpu` runs the same without one, which is how the script itself is tried.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from vlprompt import methods  # noqa: E402
from vlprompt.backbones.loading import load_backbone  # noqa: E402
from vlprompt.contract import CHECKS, Subject, stays_finite  # noqa: E402

STEPS = 200
PRECISIONS = {"cpu": ("float32", "bf16"), "cuda": ("float32", "tf32", "bf16", "fp16")}


def contract(given: argparse.Namespace, done: set[str]) -> Iterator[dict[str, Any]]:
    return checked(given, done, "float32", CHECKS)


def fp16(given: argparse.Namespace, done: set[str]) -> Iterator[dict[str, Any]]:
    precision = "fp16" if given.device == "cuda" else "bf16"  # fp16 is not for CPUs
    return checked(given, done, precision, (stays_finite,))


def checked(
    given: argparse.Namespace, done: set[str], precision: str, checks: Sequence[Callable[[Subject], None]]
) -> Iterator[dict[str, Any]]:
    """A row for each method, with what did not hold by the checks' names."""
    backbone = load_backbone("embedded", device=given.device, precision=precision)
    for method in (one for one in given.methods if one not in done):
        began, failures = time.perf_counter(), {}
        for check in checks:
            try:
                check(Subject(method, backbone, steps=given.steps))
            except Exception as error:
                failures[check.__name__] = f"{type(error).__name__}: {error}"
        yield {"name": method, "failures": failures, "seconds": time.perf_counter() - began}


def steps(given: argparse.Namespace, done: set[str]) -> Iterator[dict[str, Any]]:
    """Each row by a command of its own, so that one that runs out of memory or time leaves the others."""
    from step import ROWS

    for classes in given.classes:
        for precision in PRECISIONS[given.device]:
            for method in (one for one in given.methods if one in ROWS):
                name = f"{method} {classes} {precision}"
                if name in done:
                    continue
                command = [sys.executable, str(HERE / "step.py"), "--json", "--device", given.device]
                command += ["--methods", method, "--classes", str(classes), "--precision", precision]
                yield {"name": name, "failures": {}} | outcome(command, given.seconds_a_row)


def embedded(given: argparse.Namespace, done: set[str]) -> Iterator[dict[str, Any]]:
    """`recipes/embedded/run.py` as it is called by hand; what it needs comes behind `--embedded`."""
    if given.embedded and "training" not in done:
        command = [
            sys.executable,
            str(HERE.parent / "recipes" / "embedded" / "run.py"),
            "--device",
            given.device,
        ]
        yield {"name": "training", "failures": {}} | outcome(
            [*command, *given.embedded], given.seconds_embedded
        )


def outcome(command: list[str], seconds: float) -> dict[str, Any]:
    """The last line of a command, if it is JSON; what it said otherwise, as a failure."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"failures": {"time": f"not done in {seconds:g} s"}}
    if ended.returncode:
        return {"failures": {"exit": (ended.stderr.strip().splitlines() or ["nothing said"])[-1]}}
    try:
        return dict(json.loads(ended.stdout.strip().splitlines()[-1]))
    except (ValueError, IndexError):
        return {"said": ended.stdout.strip()[-500:]}


PARTS = {"contract": contract, "fp16": fp16, "steps": steps, "embedded": embedded}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="a folder; lines that are there are not made again"
    )
    parser.add_argument("--device", choices=tuple(PRECISIONS), default="cuda")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(methods.names()))
    parser.add_argument("--classes", type=lambda text: [int(n) for n in text.split(",")], default=[100, 1000])
    parser.add_argument("--steps", type=int, default=STEPS, help="of the trainings that have to stay finite")
    parser.add_argument("--seconds", type=float, default=600.0, help="begin nothing after this")
    parser.add_argument("--seconds-a-row", type=float, default=120.0)
    parser.add_argument("--seconds-embedded", type=float, default=3600.0)
    parser.add_argument("--embedded", type=str.split, help="flags of recipes/embedded/run.py, in quotes")
    given = parser.parse_args()
    for part in given.parts:
        if part not in PARTS:
            parser.error(f'no part "{part}": {", ".join(PARTS)}')
    return given


def main() -> int:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    began, broken = time.monotonic(), 0
    for part in given.parts:
        file = given.out / f"{part}.jsonl"
        held = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        made = PARTS[part](given, {row["name"] for row in held if not row["failures"]})
        for row in made:
            with file.open("a") as out:
                out.write(json.dumps(row) + "\n")
            broken += bool(row["failures"])
            print(part, row["name"], told(row), flush=True)
            if time.monotonic() - began > given.seconds:
                print(f"stopped after {given.seconds:g} s: the same command goes on", flush=True)
                return 1
    return 1 if broken else 0


def told(row: dict[str, Any]) -> str:
    if row["failures"]:
        return "; ".join(f"{name}: {said}" for name, said in row["failures"].items())
    if "fast_s" in row:
        ratio = f"{row['speedup']:.1f}x" if row["speedup"] else "no plain side"
        return f"{1000 * row['fast_s']:.1f} ms, {ratio}, {row['fast_peak_mb']:.0f} MB (plain {row['plain_peak_mb'] or 0:.0f})"
    return f"good, {row['seconds']:.1f} s" if "seconds" in row else str(row.get("said", "good"))


if __name__ == "__main__":
    sys.exit(main())
