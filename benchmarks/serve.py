"""Requests a second and latency of `vlprompt serve` on this machine, with and without batching.

    python benchmarks/serve.py runs/x photos/test/cat/*.jpg > rows.jsonl
    python benchmarks/serve.py runs/x --seconds 20 --concurrency 1,8,32 --batch 1,32 >> rows.jsonl
    python docs/make_serving.py rows.jsonl

Starts a server for each batch size, lets that many clients send one picture after another over kept connections of
the loopback, and prints one JSON object for each number of clients: requests/s, p50, p95, p99 in milliseconds, and
how many were refused. Client and server share the machine, so that the figures are a lower limit. Without pictures,
generated JPEG files of 640 x 480 are sent.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reporting import processor

SRC = Path(__file__).resolve().parents[1] / "src"


def generated(count: int = 16) -> list[bytes]:
    """JPEG files of 640 x 480: noise, enlarged, so that they are about as hard to decode as photos."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        small = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        file = io.BytesIO()
        small.resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
        files.append(file.getvalue())
    return files


@contextmanager
def server(run: str, words: list[str]) -> Iterator[str]:
    """The address of a server that has just started."""
    import httpx

    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SRC), os.environ.get("PYTHONPATH", "")])}
    command = [
        sys.executable,
        "-m",
        "vlprompt",
        "--quiet",
        "serve",
        run,
        "--port",
        str(port),
        "--max-waiting",
        "1000",
    ]
    process = subprocess.Popen([*command, *words], env=environment)
    try:
        while process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        else:
            raise SystemExit(f"the server ended with code {process.returncode}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def load(url: str, files: list[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """What `clients` see that each send a picture, wait for the answer and send the next, for some seconds."""
    import httpx

    times: list[float] = []
    refused = 0
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=120, trust_env=False) as client:

        async def one(number: int, end: float, record: bool) -> None:
            nonlocal refused
            while time.perf_counter() < end:
                began = time.perf_counter()
                answer = await client.post("/predict?top=1", content=files[number % len(files)])
                if record:
                    times.append(time.perf_counter() - began)
                    refused += answer.status_code != 200
                number += 1

        warm = time.perf_counter() + min(2.0, seconds / 4)
        await asyncio.gather(*(one(i, warm, False) for i in range(clients)))
        began = time.perf_counter()
        await asyncio.gather(*(one(i, began + seconds, True) for i in range(clients)))
        took = time.perf_counter() - began
    ordered = sorted(times)
    ranks = {
        f"p{p}_ms": round(1000 * ordered[min(len(ordered) - 1, len(ordered) * p // 100)], 1)
        for p in (50, 95, 99)
    }
    return {
        "requests_per_s": round(len(times) / took, 1),
        **ranks,
        "requests": len(times),
        "refused": refused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--concurrency", default="1,8,32")
    parser.add_argument("--batch", default="1,32", help="values of --max-batch-size; 1: no batching")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--note", default="", help="what else should be known about the machine")
    asked, more = parser.parse_known_args()
    files = [path.read_bytes() for path in asked.pictures] or generated()
    machine = f"{processor()}, {os.cpu_count()} cores"
    for batch in map(int, asked.batch.split(",")):
        with server(asked.run, ["--max-batch-size", str(batch), *more]) as url:
            for clients in map(int, asked.concurrency.split(",")):
                before = os.getloadavg()[0]
                found = asyncio.run(load(url, files, clients, asked.seconds))
                row = {
                    "max_batch_size": batch,
                    "clients": clients,
                    **found,
                    "load_before": round(before, 1),
                    "machine": machine,
                    "note": asked.note,
                }
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
