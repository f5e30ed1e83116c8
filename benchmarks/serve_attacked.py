"""Honest requests beside slow pictures and slow clients, and the memory before and after many requests.

    python benchmarks/serve_attacked.py RUN PICTURE [--seconds 30] [--requests 10000]

Starts `vlprompt serve RUN`; writes one JSON object. attackers: 4 clients that post a picture that takes seconds to
decode again and again, and 300 connections that never send a whole request and are opened again when closed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

CLIENTS, SLOW, HALF = 4, 4, 300


def slow_picture() -> bytes:
    """36 million pixels in 45 scans."""
    out = io.BytesIO()
    Image.new("L", (6000, 6000), 7).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    place = data.rindex(b"\xff\xda")
    return data[:place] + data[place:-2] * 40 + data[-2:]


def memory(number: int) -> int:
    """MB of a process and all below it."""
    try:
        fields = Path(f"/proc/{number}/statm").read_text().split()
        below = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20 + sum(memory(int(child)) for child in below)


def honest(where: str, picture: bytes, until: float, most: int | None = None) -> dict[str, float]:
    """CLIENTS that each ask again and again."""
    times: list[float] = []
    codes: dict[int, int] = {}
    lock = threading.Lock()

    def ask(_: int) -> None:
        with httpx.Client(base_url=where, timeout=120, trust_env=False) as client:
            while time.monotonic() < until and (most is None or len(times) < most):
                began = time.monotonic()
                code = client.post("/predict", content=picture).status_code
                with lock:
                    times.append(time.monotonic() - began)
                    codes[code] = codes.get(code, 0) + 1

    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS)))
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "requests": len(times),
        "per_second": round(len(times) / (time.monotonic() - began), 1),
        "p50_ms": round(1000 * p50),
        "p99_ms": round(1000 * p99),
        "codes": codes,  # type: ignore[dict-item]
    }


def attack(where: str, stop: threading.Event, found: dict[int, int]) -> list[threading.Thread]:
    picture, place = slow_picture(), (where.split("/")[2].split(":")[0], int(where.rpartition(":")[2]))

    def slow() -> None:
        with httpx.Client(base_url=where, timeout=120, trust_env=False) as client:
            while not stop.is_set():
                code = client.post("/predict", content=picture).status_code
                found[code] = found.get(code, 0) + 1

    def half() -> None:
        held: list[socket.socket] = []
        while not stop.is_set():
            while len(held) < HALF:
                one = socket.create_connection(place)
                one.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-A: ")
                one.setblocking(False)
                held.append(one)
            for one in list(held):
                try:
                    if one.recv(100) is not None:
                        held.remove(one)
                except BlockingIOError:
                    continue
                except OSError:
                    held.remove(one)
            time.sleep(0.2)

    threads = [threading.Thread(target=slow) for _ in range(SLOW)] + [threading.Thread(target=half)]
    for thread in threads:
        thread.start()
    return threads


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--requests", type=int, default=10_000)
    given = parser.parse_args()
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        where = f"http://127.0.0.1:{trial.getsockname()[1]}"
    command = [
        sys.executable,
        "-m",
        "vlprompt",
        "serve",
        given.run,
        "--port",
        where.rpartition(":")[2],
        "--quiet",
    ]
    process = subprocess.Popen([*command, "--decode-timeout", "5"])
    try:
        while True:
            try:
                if httpx.get(f"{where}/health", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        picture = given.picture.read_bytes()
        honest(where, picture, time.monotonic() + 3)
        figures: dict[str, object] = {
            "load": os.getloadavg()[0],
            "alone": honest(where, picture, time.monotonic() + given.seconds),
        }
        stop, codes = threading.Event(), dict[int, int]()
        threads = attack(where, stop, codes)
        time.sleep(2)
        figures["attacked"] = honest(where, picture, time.monotonic() + given.seconds)
        stop.set()
        for thread in threads:
            thread.join()
        figures["slow_pictures"] = codes
        before = memory(process.pid)
        figures["many"] = honest(where, picture, time.monotonic() + 3600, given.requests)
        figures["memory_mb"] = [before, memory(process.pid)]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        figures["stop_s"] = round(time.monotonic() - began, 2)
        print(json.dumps(figures))
    finally:
        if process.poll() is None:
            process.kill()


if __name__ == "__main__":
    main()
