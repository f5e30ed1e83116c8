"""Ask PyPI which of the installed packages have known vulnerabilities.

    .venv/bin/python tools/audit.py

`pip-audit` does the same and more; this is for networks where neither OSV nor PyPI's page of each release can be reached
(many mirrors have only the page of the newest release). A package is then answered for if it is at its newest release,
and named as not answered otherwise. Exits with 1 if a vulnerability is known, with 2 if nothing could be asked.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from typing import Any


def page(index: str, path: str) -> dict[str, Any] | None:
    """What the index says, or None if it has no such page or does not answer."""
    try:
        with urllib.request.urlopen(f"{index}/pypi/{path}/json", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError):
        return None


def known(index: str, name: str, version: str) -> list[str] | None:
    """Identifiers of the vulnerabilities of a release that are not withdrawn; None if that cannot be said."""
    version = version.partition("+")[0]  # "2.13.0+cpu" is a build of 2.13.0
    found = page(index, f"{name}/{version}") or page(index, name)
    if found is None or found["info"]["version"] != version or "vulnerabilities" not in found:
        return None
    return sorted(one["id"] for one in found["vulnerabilities"] if not one.get("withdrawn"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--index", default="https://pypi.org", help="PyPI, or a mirror that has its JSON pages"
    )
    arguments = parser.parse_args()
    packages = sorted(
        {(one.metadata["Name"], one.version) for one in distributions() if one.metadata["Name"] != "vlprompt"}
    )
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: known(arguments.index, *one), packages))
    bad = [
        f"{name} {version}: {', '.join(ids)}"
        for (name, version), ids in zip(packages, answers, strict=True)
        if ids
    ]
    silent = [
        f"{name} {version}" for (name, version), ids in zip(packages, answers, strict=True) if ids is None
    ]
    print(
        f"{len(packages)} packages, {len(packages) - len(silent)} answered for, {len(bad)} with known vulnerabilities"
    )
    print("\n".join(bad), end="\n" if bad else "")
    if silent:
        print(f"not answered for: {', '.join(silent)}")
    return 1 if bad else 2 if len(silent) == len(packages) else 0


if __name__ == "__main__":
    sys.exit(main())
