"""Check a built wheel and source archive where neither was built.

    python tools/check_wheel.py dist/                    everything
    python tools/check_wheel.py dist/ --no-tests         without the tests of the source archive
    python tools/check_wheel.py dist/ --tests tests      all of them instead of a selection
    python tools/check_wheel.py dist/ --python .venv/bin/python --no-install

A fresh environment is made in a temporary folder, the wheel is installed into it with what it needs (`constraints.txt` of
the source archive pins that), commands are run, and then the tests that the source archive holds, against the wheel.
With --no-install the interpreter that is named has everything already and the wheel alone is unpacked in front of it:
for machines that reach no package index. Exits with 1 and a line for whatever is not right.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

TESTS = ("tests/test_package.py", "tests/test_imports.py", "tests/methods")
NEEDED = (
    "vlprompt/py.typed",
    "vlprompt/assets/demo/NOTICE.txt",
    "vlprompt/assets/clip_vocabulary/merges.txt.gz",
    "vlprompt/cli/main.py",
)
STRANGERS = ("tests/", "docs/", "benchmarks/", "recipes/", "fuzz/", "tools/", "examples/")


def one(folder: Path, pattern: str) -> Path:
    """The only file of the folder that matches."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{folder}: expected one {pattern}, found {len(found)}")
    return found[0]


def check_content(wheel: Path) -> list[str]:
    """What is missing in a wheel, and what does not belong there."""
    with zipfile.ZipFile(wheel) as held:
        names = held.namelist()
    wrong = [f"{wheel.name}: {name} is missing" for name in NEEDED if name not in names]
    if not any(name.endswith("LICENSE") and ".dist-info/" in name for name in names):
        wrong.append(f"{wheel.name}: the licence is missing")
    wrong += [f"{wheel.name}: {name} does not belong there" for name in names if name.startswith(STRANGERS)]
    wrong += [f"{wheel.name}: {name} was made by running" for name in names if "__pycache__" in name]
    return wrong


def run(command: list[str | Path], where: Path, environment: dict[str, str]) -> int:
    print("$", *(str(word) for word in command), flush=True)
    return subprocess.run([str(word) for word in command], cwd=where, env=environment, check=False).returncode


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dist", type=Path, help="folder with one wheel and one source archive")
    parser.add_argument("--tests", nargs="*", default=list(TESTS), help="what to run of the source archive")
    parser.add_argument("--no-tests", action="store_true")
    parser.add_argument("--extras", default="test", help="extras to install, with commas between")
    parser.add_argument("--also", nargs="*", default=[], help="further packages to install")
    parser.add_argument("--python", default=sys.executable, help="interpreter to make the environment with")
    parser.add_argument(
        "--no-install", action="store_true", help="use --python as it is, with the wheel in front of it"
    )
    asked = parser.parse_args(words)
    wheel, sources = one(asked.dist.resolve(), "*.whl"), one(asked.dist.resolve(), "*.tar.gz")
    wrong = check_content(wheel)
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        with tarfile.open(sources) as held:
            held.extractall(place / "unpacked", filter="data")
        root = next((place / "unpacked").iterdir())
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"VLPROMPT_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
        if asked.no_install:
            python = Path(asked.python)
            with zipfile.ZipFile(wheel) as packed:
                packed.extractall(place / "wheel")
            environment["PYTHONPATH"] = str(place / "wheel")
        else:
            venv.create(place / "venv", with_pip=True)
            python = place / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
            extras = f"[{asked.extras}]" if asked.extras and not asked.no_tests else ""
            pins = ["-c", root / "constraints.txt"]
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            if run([*pip, *pins, f"{wheel}{extras}", *asked.also], place, environment):
                return 1
        origin = "import sys, vlprompt; sys.exit(vlprompt.__file__.startswith(sys.argv[1]))"
        if run([python, "-c", origin, root], root, environment):
            wrong.append("the package is taken from the source archive, not from the wheel")
        for command in (["--version"], ["methods"], ["data", "demo"]):
            if run([python, "-m", "vlprompt", *command], place, environment):
                wrong.append(f"vlprompt {' '.join(command)} fails")
        learn = ["fit", "demo", "--method", "lamm", "--shots", "1", "--epochs", "1", "--out", place / "run"]
        if run([python, "-m", "vlprompt", *learn], place, environment):
            wrong.append("vlprompt fit demo fails")
        if not asked.no_tests and run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *asked.tests], root, environment
        ):
            wrong.append("the tests of the source archive fail against the wheel")
    for line in wrong:
        print(f"check_wheel: {line}", file=sys.stderr)
    print("wheel and source archive are right" if not wrong else f"{len(wrong)} things are not right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
