"""benchmarks/gpu.py, as it can be tried without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


def run(out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--device", "cpu", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    flags = ["--parts", "contract,fp16", "--methods", "linear_probe,coop", "--steps", "2"]
    stopped = run(tmp_path, *flags, "--seconds", "0")
    assert stopped.returncode == 1 and "the same command goes on" in stopped.stdout
    assert [row["name"] for row in lines(tmp_path / "contract.jsonl")] == ["linear_probe"]
    ended = run(tmp_path, *flags)
    assert ended.returncode == 0, ended.stderr
    assert [row["name"] for row in lines(tmp_path / "contract.jsonl")] == ["linear_probe", "coop"]
    assert [row["name"] for row in lines(tmp_path / "fp16.jsonl")] == ["linear_probe", "coop"]
    assert all(row["failures"] == {} for row in lines(tmp_path / "contract.jsonl"))


def test_says_what_did_not_hold_and_tries_it_again(tmp_path: Path) -> None:
    for _ in range(2):
        ended = run(tmp_path, "--parts", "embedded", "--embedded", "--unheard 1")
        assert ended.returncode == 1 and "embedded training exit: run.py: error:" in ended.stdout
    assert len(lines(tmp_path / "embedded.jsonl")) == 2
    assert "no part" in run(tmp_path, "--parts", "all").stderr
