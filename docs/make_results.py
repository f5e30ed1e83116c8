"""Writes the tables of docs/results.md: each is what a command prints for the records in recipes/results/.

    python docs/make_results.py            rewrites the parts between <!-- table: vlprompt table ... --> and <!-- end -->
    python docs/make_results.py --check    exits with 1 if they are not what the commands print

The command stands in the marker, and above the table for the reader; it is run in recipes/results/.
"""

from __future__ import annotations

import shlex
import subprocess
import sys

from parts import HERE, rewrite

RECORDS = HERE.parent / "recipes" / "results"


def printed(command: str) -> str:
    """What a command prints, under the command itself."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command), "--format", "md"],
        cwd=RECORDS,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr.strip()}")
    return f"`{command}`\n\n{done.stdout.strip()}\n"


if __name__ == "__main__":
    sys.exit(rewrite([HERE / "results.md"], r"vlprompt table [^>]*?", printed, "make_results.py"))
