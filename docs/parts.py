"""Parts of pages that are written by scripts: what stands between <!-- table: NAME --> and <!-- end -->."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

HERE = Path(__file__).parent


def rewrite(pages: Iterable[Path], names: str, content: Callable[[str], str], script: str) -> int:
    """Writes every part whose name matches anew; with --check only says which pages are not up to date, and gives 1."""
    part = re.compile(rf"(<!-- table: ({names}) -->\n).*?(<!-- end -->)", re.DOTALL)
    check, code = "--check" in sys.argv[1:], 0
    for page in pages:
        old = page.read_text(encoding="utf-8")
        new = part.sub(lambda found: found[1] + content(found[2]) + found[3], old)
        if new == old:
            continue
        if check:
            print(f"{page.relative_to(HERE)} is not up to date: run python docs/{script}", file=sys.stderr)
            code = 1
        else:
            page.write_text(new, encoding="utf-8")
    return code
