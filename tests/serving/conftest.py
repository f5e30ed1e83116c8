"""A run of the tiny CLIP, and a real server process on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from small_data import picture_folder
from support import save_huggingface

pytest.importorskip("litserve", reason="the extra serve is not installed")

Started = Callable[..., "Server"]


@dataclass
class Server:
    url: str
    process: subprocess.Popen[str]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and stderr after a signal."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("pictures"), {"train": 3, "val": 3, "test": 4})


@pytest.fixture(scope="session")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of CoOp with thresholds for rejection, which names its backbone by its path."""
    from vlprompt.fitting.learning import fit

    backbone = save_huggingface(tmp_path_factory.mktemp("backbone"))
    folder = tmp_path_factory.mktemp("runs") / "x"
    fit(
        pictures,
        "coop",
        shots=3,
        backbone=str(backbone),
        out=folder,
        cache=False,
        options={"context_tokens": 2},
        train={"epochs": 5, "batch": 4, "views": 2},
    )
    return folder


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@contextmanager
def started(
    run: Path, *words: str, port: int | None = None, program: Sequence[str] = ("-m", "vlprompt")
) -> Iterator[Server]:
    port = free_port() if port is None else port
    command = [sys.executable, *program, "serve", str(run), "--port", str(port), *words]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        end = time.monotonic() + 400
        while time.monotonic() < end and process.poll() is None:
            try:
                if httpx.get(f"{server.url}/health", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        else:
            out, err = (
                process.communicate(timeout=10) if process.poll() is not None else ("", "it is not ready")
            )
            raise AssertionError(f"no server: {out} {err}")
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


@pytest.fixture(scope="session")
def server(run: Path) -> Iterator[Server]:
    words = (
        "--max-bytes",
        "200000",
        "--max-pixels",
        "1000000",
        "--batch-timeout",
        "0.02",
        "--max-waiting",
        "40",
        "--reject",
        "0.95",
    )
    with started(run, *words) as one:
        yield one


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as one:
        yield one
