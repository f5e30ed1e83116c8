"""Sweeps that are killed, that share a results file, and whose workers die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grids import write_toml

from vlprompt.sweeps.grid_cells import Cell
from vlprompt.sweeps.ledger import Ledger
from vlprompt.sweeps.local_workers import Processes
from vlprompt.sweeps.sweep import sweep
from vlprompt.sweeps.sweep_file import make_sweep

TIMES = ("seconds", "total_seconds", "folder")


def read(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()] if Path(path).exists() else []


def content(path):
    """Records without order and times."""
    rows = [{k: v for k, v in record.items() if k not in TIMES} for record in read(path)]
    return sorted(rows, key=lambda record: record["key"])


def start(toml, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "vlprompt", "--quiet", "sweep", str(toml), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, process, seconds=120):
    """Until something holds; fails when the process ends before."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sweep_that_was_killed_ends_with_the_same_results(grid, tmp_path, jobs):
    grid |= {"methods": ["coop", "lamm"], "seeds": [1, 2], "runs": str(tmp_path / "runs")}
    train = {"epochs": 20, "batch": 4, "views": 1}
    whole = grid | {
        "out": str(tmp_path / "undisturbed.jsonl"),
        "runs": str(tmp_path / "others"),
        "train": train,
    }
    assert sweep(whole).now == 4
    grid["train"] = train | {"save_seconds": 0}  # which does not make them other runs
    toml = write_toml(tmp_path / "sweep.toml", grid)
    killed = start(toml, "--jobs", str(jobs))
    runs = tmp_path / "runs"
    wait_for(lambda: read(grid["out"]) and next(runs.rglob("checkpoint.safetensors"), None), killed)
    os.kill(killed.pid, signal.SIGKILL)  # alone: its workers must notice
    killed.communicate()
    assert len(read(grid["out"])) < 4
    found = sweep(grid, jobs=1)
    assert found.before >= 1 and found.now == 4 - found.before and not found.failed
    assert content(grid["out"]) == content(whole["out"])


@pytest.mark.slow
def test_two_sweeps_share_a_results_file(grid, tmp_path):
    toml = write_toml(tmp_path / "sweep.toml", grid)
    both = [start(toml), start(toml)]
    for process in both:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    records = read(grid["out"])
    assert len(records) == len({record["key"] for record in records}) == 6
    assert [p.name for p in (tmp_path / "results.jsonl.claims").iterdir()] == ["lock"]


def test_a_run_that_another_sweep_has_claimed_is_left_to_it(grid):
    first, second, *_ = make_sweep(grid).cells
    with Ledger(Path(grid["out"])) as one, Ledger(Path(grid["out"])) as other:
        assert one.claim([first, second]) == first
        assert other.claim([first, second]) == second
        assert one.claim([first, second]) is None
        one.finish(first, first.about | {"accuracy": 1.0})
        other.fail(second, "no luck")
        assert other.claim([first]) is None and first.key in other.done
        one.refresh()
        assert one.failed[second.key]["error"] == "no luck"
        assert one.claim([second]) is None and one.claim([second], retry=True) == second


def test_a_line_that_a_crash_cut_off_is_no_run(grid):
    (cell,) = make_sweep(grid | {"methods": ["zeroshot"], "seeds": [1]}).cells
    path = Path(grid["out"])
    path.write_text(json.dumps(cell.about | {"key": cell.key, "accuracy": 1.0})[:-3])
    with Ledger(path) as ledger:
        assert ledger.claim([cell]) == cell
        ledger.finish(cell, cell.about | {"accuracy": 2.0})
    with Ledger(path) as ledger:
        assert ledger.done[cell.key]["accuracy"] == 2.0


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_run_only(grid, tmp_path, monkeypatch):
    """A method of someone else's that kills its process the first time, and one that always does."""
    (tmp_path / "deadly.py").write_text(
        "import os, signal\nfrom pathlib import Path\nfrom vlprompt.methods.zeroshot import ZeroShot\n"
        "class METHOD(ZeroShot):\n"
        "    def texts(self, seen=None):\n"
        f"        seen = Path({str(tmp_path)!r}) / 'seen'\n"
        "        if not seen.exists():\n"
        "            seen.touch()\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().texts(seen)\n"
    )
    (tmp_path / "fatal.py").write_text(
        "import os, signal\nfrom vlprompt.methods.zeroshot import ZeroShot\n"
        "class METHOD(ZeroShot):\n"
        "    def texts(self, seen=None):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for name in ("deadly", "fatal"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.py").rename(tmp_path / name / "method.py")
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    found = sweep(grid | {"methods": ["deadly.method", "fatal.method", "zeroshot"], "seeds": [1]}, jobs=2)
    assert {record["method"] for record in found.records} == {"deadly.method", "zeroshot"}
    ((cell, error),) = found.failed.items()
    assert isinstance(cell, Cell) and cell.method == "fatal.method" and "died 2 times (signal 9)" in error


@pytest.mark.slow
def test_a_worker_that_dies_while_it_has_nothing_to_do_is_replaced(grid):
    cells = make_sweep(grid).cells[:2]
    workers = Processes(1, lambda job, record: None)
    try:
        for cell in cells:
            workers.submit(cell)
            end = time.monotonic() + 120
            while not (found := list(workers.finished(1))):
                assert time.monotonic() < end
            ((done, result),) = found
            assert done == cell and result.error is None
            workers._workers[0].process.kill()
            workers._workers[0].process.join()
    finally:
        workers.close()
