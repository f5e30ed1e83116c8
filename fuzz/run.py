"""Coverage-guided fuzzing of everything that reads files from elsewhere.

    python fuzz/run.py --seconds 300 pictures       # see --help for the targets
    python fuzz/run.py --seconds 60 all             # one after another

Needs atheris (pip install atheris). Every case may end in a value or in a VlpromptError, in at most LONGEST
seconds and MEMORY megabytes. Anything else is a finding: the input stays in fuzz/found/TARGET/ and is run again with
`python fuzz/run.py TARGET --again FILE`. A target that tries nothing has failed, too. What was tried is added to
fuzz/figures.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
LONGEST, MEMORY = 20, 3000  # seconds and megabytes of one case
INTERRUPTED = 72  # how libFuzzer ends after Ctrl-C
TARGETS = ("pictures", "archives", "lists", "json_readers", "sweeps", "runs", "checkpoints", "cache")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=(*TARGETS, "all"))
    parser.add_argument("--seconds", type=int, default=60, help="of each target (default: 60)")
    parser.add_argument("--again", type=Path, help="a single input, with its trace")
    parser.add_argument(
        "--longest", type=int, default=LONGEST, help="seconds that a case may take on this machine"
    )
    given = parser.parse_args()
    targets = TARGETS if given.target == "all" else (given.target,)
    return max(fuzz(target, given.seconds, given.again, given.longest) for target in targets)


def fuzz(target: str, seconds: int, again: Path | None, longest: int) -> int:
    """One target in a process of its own, which libFuzzer ends at the first finding."""
    found, corpus = HERE / "found" / target, HERE / "corpus" / target
    for folder in (found, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    options = (
        [str(again)]
        if again
        else [
            str(corpus),
            f"-max_total_time={seconds}",
            f"-artifact_prefix={found}/",
            "-max_len=20000",
            "-print_final_stats=1",
        ]
    )
    options += [f"-timeout={longest}", f"-rss_limit_mb={MEMORY}"]
    began = time.monotonic()
    child = subprocess.run(
        [sys.executable, str(HERE / "harness.py"), target, *options],
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=os.environ | {"OMP_NUM_THREADS": "1", "VLPROMPT_CACHE": "off"},
        check=False,
    )
    finding = child.returncode not in (0, INTERRUPTED)
    count = re.findall(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\s", child.stderr, re.MULTILINE)
    cases = max((int(a or b) for a, b in count), default=0)
    if again or finding or not cases:
        how = f", signal {signal.Signals(-child.returncode).name}" if child.returncode < 0 else ""
        print(child.stderr[-6000:], f"{target}: exit code {child.returncode}{how}", file=sys.stderr)
    if again:
        return child.returncode
    cover = re.findall(r"cov: (\d+)", child.stderr)
    figures = {
        "target": target,
        "cases": cases,
        "seconds": round(time.monotonic() - began),
        "finding": finding,
        "coverage": int(cover[-1]) if cover else 0,
    }
    with open(HERE / "figures.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(figures) + "\n")
    print(json.dumps(figures))
    return int(finding or not cases)  # a target that tries nothing finds nothing


if __name__ == "__main__":
    sys.exit(main())
