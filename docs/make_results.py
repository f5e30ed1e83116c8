"""Writes the tables of the pages with results: each is what a command prints for the records in recipes/results/.

    python docs/make_results.py            rewrites the parts between <!-- table: vlprompt table ... --> and <!-- end -->
    python docs/make_results.py --check    exits with 1 if they are not what the commands print

The command stands in the marker, and above the table for the reader; it is run in the folder of the page's records.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

from parts import HERE, rewrite

RESULTS = HERE.parent / "recipes" / "results"
RECORDS = {page: RESULTS for page in ("results.md", "results-by-data.md", "new-names.md")}
RECORDS["results-former.md"] = RESULTS / "former"


def printed(command: str, records: Path) -> str:
    """What a command prints for the records in a folder, under the command itself."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command), "--format", "md"],
        cwd=records,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr.strip()}")
    return f"`{command}`\n\n{done.stdout.strip()}\n"


if __name__ == "__main__":
    codes = [
        rewrite([HERE / page], r"vlprompt table [^>]*?", partial(printed, records=folder), "make_results.py")
        for page, folder in RECORDS.items()
    ]
    sys.exit(max(codes))
