"""A sweep over a real Ray cluster of several node processes on this machine, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from grids import write_toml

from vlprompt.errors import MissingExtra

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed (pip install 'vlprompt[ray]')"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]


@pytest.fixture
def cluster(monkeypatch):
    """A head without CPUs of its own and two workers of one CPU each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_DISABLE_DOCKER_CPU_WARNING", "1")
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    quick = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 2000,
        "health_check_failure_threshold": 10,
        "worker_niceness": 0,
    }  # not behind everything else on a busy machine
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": quick, **small})
    try:
        yield made, [made.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(2)]
    finally:
        made.shutdown()


def records(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()] if Path(path).exists() else []


def test_a_lost_node_costs_time_and_no_result(grid, tmp_path, cluster):
    head, workers = cluster
    grid |= {"methods": ["zeroshot", "coop", "lamm"], "seeds": [1, 2, 3, 4], "runs": str(tmp_path / "runs")}
    grid["train"] = {"epochs": 150, "batch": 4, "views": 1}
    toml = write_toml(tmp_path / "sweep.toml", grid)
    command = [sys.executable, "-m", "vlprompt", "sweep", str(toml), "--ray", head.address]
    log = tmp_path / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
    end = time.monotonic() + 300
    while len(records(grid["out"])) < 3:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    head.remove_node(workers[0], allow_graceful=False)
    assert len(records(grid["out"])) < 12
    assert process.wait(timeout=300) == 0, log.read_text()
    found = records(grid["out"])
    assert not [record for record in found if "error" in record], log.read_text()
    assert len(found) == len({record["key"] for record in found}) == 12
    assert {(r["method"], r["seed"]) for r in found} == {
        (m, s) for m in grid["methods"] for s in grid["seeds"]
    }
    again = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert "0 done now, 12 before" in again.stdout, again.stderr
    assert len(records(grid["out"])) == 12


@pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="pyarrow is not installed (pip install 'vlprompt[embed-ray]')"
)
@pytest.mark.parametrize("command", ["embed", "predict"])
def test_shards_over_a_cluster_are_those_of_one_process(place, tmp_path, cluster, command):
    import pyarrow.parquet as pq

    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.fitting.learning import fit

    head, _ = cluster
    words = [command, str(place / "pictures" / "test"), "--shard", "3", "--device", "cpu"]
    if command == "embed":
        words += ["-b", str(place / "backbone")]
    else:
        words.insert(1, str(tmp_path / "run"))
        fit(
            place / "pictures",
            "coop",
            shots=2,
            backbone=BackboneSpec(place / "backbone", device="cpu"),
            out=tmp_path / "run",
            train={"epochs": 1, "batch": 4, "views": 1},
            cache=False,
        )
    words = [sys.executable, "-m", "vlprompt", *words]
    for out, more in (("alone", []), ("spread", ["--ray", head.address])):
        done = subprocess.run(
            [*words, "--out", str(tmp_path / out), *more],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0 and "8 done now" in done.stdout, done.stderr
    assert (
        "0 done now"
        in subprocess.run(
            [*words, "--out", str(tmp_path / "spread"), *more], capture_output=True, text=True, check=True
        ).stdout
    )
    for i in range(3):
        alone, spread = (
            pq.read_table(tmp_path / out / f"part-0000{i}.parquet").to_pylist() for out in ("alone", "spread")
        )
        assert [row["path"] for row in alone] == [row["path"] for row in spread]
        assert alone == spread


# Every Python process of the cluster is killed where it puts a finished shard in place, the first MOST times. Whoever looks for
# shards that are being written misses them on a busy machine.
KILLS_ITSELF = """
import os, signal, sys

def look(event, arguments):
    if event == "os.rename" and os.fsdecode(arguments[1]).startswith(FOLDER + os.sep + "part-"):
        with open(KILLED, "a+") as log:
            log.seek(0)
            if len(log.readlines()) < MOST:
                log.write(str(os.getpid()) + chr(10))
                log.flush()
                os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(look)
"""


@pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="pyarrow is not installed (pip install 'vlprompt[embed-ray]')"
)
@pytest.mark.parametrize("most", [1, 1000])
def test_killed_workers_of_shards_are_replaced_but_not_for_ever(place, tmp_path, monkeypatch, request, most):
    import pyarrow.parquet as pq

    out, killed = tmp_path / "out", tmp_path / "killed"
    (tmp_path / "python").mkdir()
    told = f"FOLDER, KILLED, MOST = {str(out)!r}, {str(killed)!r}, {most}\n"
    (tmp_path / "python" / "sitecustomize.py").write_text(told + KILLS_ITSELF)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "python"), prepend=os.pathsep)
    head, _ = request.getfixturevalue("cluster")
    command = [sys.executable, "-m", "vlprompt", "embed", str(place / "pictures" / "test"), "--shard", "4"]
    command += ["-b", str(place / "backbone"), "--out", str(out), "--device", "cpu", "--ray", head.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    text = done.stdout + done.stderr
    kills = len(killed.read_text().splitlines())
    assert not list(out.glob("*.tmp"))
    if most == 1:
        assert kills == 1 and done.returncode == 0 and "8 done now" in text, text
        assert sum(pq.read_metadata(part).num_rows for part in out.glob("part-*.parquet")) == 8
    else:
        assert kills > 3 and done.returncode == 1 and "Traceback" not in text, text
        assert (
            len([line for line in text.splitlines() if line.startswith("vlprompt: the cluster has given up")])
            == 1
        )


def loading(mark):
    """Ids of the processes of a cluster that get ready for shards, or write them. mark: in their environment."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (place / "cmdline").read_bytes().startswith(b"ray::MapWorker") and mark in (
                place / "environ"
            ).read_bytes():
                yield int(place.name)


@pytest.mark.skipif(
    find_spec("pyarrow") is None or not Path("/proc/self/environ").exists(),
    reason="pyarrow is not installed (pip install 'vlprompt[embed-ray]'), or there is no /proc",
)
def test_workers_that_are_killed_while_they_get_ready_are_given_up(place, tmp_path, monkeypatch, request):
    mark = f"VLPROMPT_CLUSTER={tmp_path}"
    monkeypatch.setenv(*mark.split("="))
    head, _ = request.getfixturevalue("cluster")
    command = [sys.executable, "-m", "vlprompt", "embed", str(place / "pictures" / "test"), "--shard", "4"]
    command += [
        "-b",
        str(place / "backbone"),
        "--out",
        str(tmp_path / "out"),
        "--device",
        "cpu",
        "--ray",
        head.address,
    ]
    killed, end = set(), time.monotonic() + 300
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        while process.poll() is None:
            assert time.monotonic() < end, f"has not ended after {len(killed)} kills"
            for number in set(loading(mark.encode())) - killed:
                killed.add(number)
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.005)
    finally:
        process.kill()
    text = (tmp_path / "log.txt").read_text()
    assert len(killed) > 3 and process.returncode == 1 and "Traceback" not in text, text
    assert (
        len([line for line in text.splitlines() if line.startswith("vlprompt: the cluster has given up")])
        == 1
    )
    assert not list((tmp_path / "out").glob("part-*"))


def test_without_ray_the_command_says_what_to_install(monkeypatch):
    from vlprompt.ray_cluster import ray_module

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'vlprompt\[ray\]'"):
        ray_module()
