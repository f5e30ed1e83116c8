"""One optimisation step of each method: this checkout against another one, step by step in turn.

    git worktree add ../before COMMIT
    python benchmarks/against.py ../before                      table of all rows that both have
    python benchmarks/against.py ../before --methods maple,vpt --repeats 15

Both run the library's normal path on the same random weights (`benchmarks/step.py` of each checkout, in
processes of their own). `ratio` is ours over theirs, of the medians of processor seconds, which say more than
the clock's on a machine that others use; `peak_mb` is the peak of each process during a step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

from step import ROWS, Process

TICKS = os.sysconf("SC_CLK_TCK")
HERE = Path(__file__).resolve().parents[1]


class Worker(Process):
    """The fast side of a checkout's `benchmarks/step.py`."""

    def __init__(self, checkout: Path, method: str, args: argparse.Namespace) -> None:
        script = str(checkout / "benchmarks" / "step.py")
        words = ["--side", "fast", "--methods", method, "--classes", str(args.classes)]
        environment = {"OMP_NUM_THREADS": str(args.threads), "PYTHONPATH": str(checkout / "src")}
        super().__init__([sys.executable, script, *words], environment)

    def step(self) -> float:
        """Processor seconds of one step."""
        before = self.used()
        self.ask("step")
        return self.used() - before

    def used(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def compare(method: str, args: argparse.Namespace) -> str:
    """A line of the table."""
    sides = [Worker(checkout, method, args) for checkout in (HERE, args.other)]
    for side in sides:
        side.read("its start")
    for side in sides:
        side.step()  # what is computed once per run
    used: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    while len(used[0]) < args.repeats and (len(used[0]) < 3 or time.perf_counter() - began < args.seconds):
        turn = len(used[0]) % 2
        for i in (turn, 1 - turn):  # who goes first changes, too
            used[i].append(sides[i].step())
    ours, theirs = map(statistics.median, used)
    peaks = [side.ask("peak_mb") for side in sides]
    for side in sides:
        side.close()
    return (
        f"{method:>12}  {ours:8.2f}  {theirs:8.2f}  {ours / theirs:6.3f}  {peaks[0]:8.0f}  {peaks[1]:8.0f}"
        f"  {len(used[0]):7}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="another checkout of the project")
    parser.add_argument("--methods", type=lambda s: s.split(","), default=list(ROWS))
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=60.0, help="start no repeat after this")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.other = args.other.resolve()
    columns = f"{'method':>12}  {'ours s':>8}  {'theirs s':>8}  {'ratio':>6}  {'ours MB':>8}  {'their MB':>8}  repeats"
    print(columns, flush=True)
    for method in args.methods:
        print(compare(method, args), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
