"""One target under libFuzzer: `harness.py TARGET [libFuzzer options]`; started by run.py.

It starts from the valid and hostile inputs of seeds.py.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from pathlib import Path

import atheris

LATER = {  # modules that targets import when they run, which would be too late to watch them
    "runs": ["vlprompt.runs.run"],
    "checkpoints": ["vlprompt.backbones.weights.pickled", "vlprompt.backbones.weights.tensor_files"],
    "json_readers": ["vlprompt.fitting.recipes"],
    "sweeps": ["vlprompt.sweeps.sweep_file", "vlprompt.cli.protocol_command"],
}

with atheris.instrument_imports(include=["vlprompt", "PIL", "zipfile", "tarfile", "csv", "tomllib", "json"]):
    import seeds
    import targets

    for module in LATER.get(sys.argv[1], []):
        importlib.import_module(module)


def main() -> None:
    name = sys.argv.pop(1)
    seeds.CANARY = targets.CANARY
    corpus = Path(sys.argv[1])
    if corpus.is_dir():
        for number, data in enumerate(seeds.SEEDS[name](targets.FOLDER)):
            (corpus / f"seed-{number:02d}").write_bytes(data)

    def once(data: bytes) -> None:
        targets.once(name, data)

    # What a target imports when it first runs takes longer on a busy machine than a case may. Whether a seed is a finding
    # is found out below.
    for data in seeds.SEEDS[name](targets.FOLDER):
        with suppress(Exception):
            once(data)
    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
