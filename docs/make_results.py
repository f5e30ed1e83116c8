"""Writes the tables of docs/results.md: each is what a command prints for the records in recipes/results/.

    python docs/make_results.py            rewrites the parts between <!-- table: vlprompt table ... --> and <!-- end -->
    python docs/make_results.py --check    exits with 1 if they are not what the commands print

The command stands in the marker, and above the table for the reader; it is run in recipes/results/.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
PART = re.compile(r"(<!-- table: (vlprompt table [^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def printed(command: str) -> str:
    """What a command prints, under the command itself."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command), "--format", "md"],
        cwd=ROOT / "recipes" / "results", capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr.strip()}")
    return f"`{command}`\n\n{done.stdout.strip()}\n"


def main() -> int:
    old = PAGE.read_text(encoding="utf-8")
    new = PART.sub(lambda part: part[1] + printed(part[2]) + part[3], old)
    if "--check" in sys.argv[1:]:
        if new != old:
            print("docs/results.md is not up to date: run python docs/make_results.py", file=sys.stderr)
        return int(new != old)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
