"""Same seed, same machine, same numbers: also in another process, where hashes of texts are other ones.

`test_fit.py` compares two runs of one process; what depends on the order of a set shows only here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_data import picture_folder

from vlprompt import methods

TESTS = Path(__file__).parent
CODE = """
import hashlib, json, sys
import torch
from support import tiny_backbone
from vlprompt import methods
from vlprompt.fitting.learning import fit
torch.set_num_threads(1)
backbone, found = tiny_backbone(), {}
for name in methods.names():
    options = {"depth": 2} if name.startswith("maple") else None
    train = {"epochs": 2, "batch": 6, "views": 2, "warmup_epochs": 0}
    run = fit(sys.argv[1], name, backbone=backbone, shots=2, cache=False, train=train, options=options, seed=3)
    state = run.learned.state_dict()
    values = b"".join(n.encode() + t.numpy().tobytes() for n, t in sorted(state.items()))
    found[name] = [hashlib.sha256(values).hexdigest(), run.info.settings, json.dumps(run.scores, sort_keys=True)]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_every_method_gives_the_same_numbers_in_another_process(tmp_path):
    data = picture_folder(tmp_path / "data", {"train": 2, "test": 1})
    found = []
    for seed in ("1", "2"):
        paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(data)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    assert set(found[0]) == set(methods.names())
    assert found[0] == found[1]
