"""Predictions that fail, hang or die: who asked gets an answer, and whoever asks next too, or the server ends."""

from __future__ import annotations

import io
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Server, free_port, started
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc"),
]
GREY, RED, GREEN, BLUE = (100, 100, 100), (255, 0, 0), (0, 255, 0), (0, 0, 255)
LAUNCH = """# a launch script as a user may write one
import os, sys, time
import numpy as np
import vlprompt.serving.api as api

own = api.PromptAPI.answers

def answers(self, crops):
    for crop in crops:
        red, green, blue = np.asarray(crop).reshape(-1, 3).mean(0) > 200
        if red:
            raise RuntimeError("made to fail")
        if green:
            time.sleep(4)
        if blue:
            os._exit(9)
    return own(self, crops)

api.PromptAPI.answers = answers
if __name__ == "__main__":
    from vlprompt.cli.main import main
    sys.exit(main())
"""


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    (tmp_path / "launch.py").write_text(LAUNCH)
    return [str(tmp_path / "launch.py")]


def plain(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(out, "PNG")
    return out.getvalue()


def ask(server: Server, colour: tuple[int, int, int] = GREY) -> httpx.Response:
    with server.client() as own:
        return own.post("/predict", content=plain(colour))


def children(number: int) -> dict[int, bytes]:
    """Ids and command lines of all processes below one."""
    found: dict[int, bytes] = {}
    for task in Path(f"/proc/{number}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found |= {child: Path(f"/proc/{child}/cmdline").read_bytes()} | children(child)
    return found


def predicting(server: Server) -> int:
    (found,) = (number for number, line in children(server.process.pid).items() if b"spawn_main" in line)
    return found


def speaking(server: Server) -> int:
    """The process that holds the processes that decode."""
    (found,) = (
        number
        for number in children(server.process.pid)
        if any(b"decoding_process" in line for line in children(number).values())
    )
    return found


def gone(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_prediction_that_fails_is_500_for_whoever_asked_and_nobody_else(
    run: Path, program: list[str]
) -> None:
    with (
        started(run, "--batch-timeout", "1", "--quiet", program=program) as server,
        ThreadPoolExecutor(6) as pool,
    ):
        answers = list(pool.map(lambda colour: ask(server, colour), [GREY, GREY, RED, GREY, RED]))
        assert [answer.status_code for answer in answers] == [200, 200, 500, 200, 500]
        assert answers[2].json() == {"detail": "the prediction failed; the server's log says why"}
        assert ask(server).status_code == 200
        code, err = server.stop()
        assert code == 0 and err.count("RuntimeError: made to fail") == 2 and "Traceback" in err


def test_whoever_waits_for_a_slow_prediction_or_one_that_hangs_is_told(run: Path, program: list[str]) -> None:
    words = ("--timeout", "1", "--max-waiting", "4", "--max-batch-size", "1", "--quiet")
    with started(run, *words, program=program) as server, ThreadPoolExecutor(8) as pool:
        slow = pool.submit(ask, server, GREEN)
        time.sleep(0.5)
        late = [pool.submit(ask, server) for _ in range(2)]
        assert [answer.result().status_code for answer in late] == [504, 504]
        assert slow.result().status_code == 200 and ask(server).status_code == 200
        worker = predicting(server)
        os.kill(worker, signal.SIGSTOP)
        began = time.monotonic()
        codes = sorted(answer.status_code for answer in pool.map(lambda _: ask(server), range(8)))
        assert codes == [503] * 4 + [504] * 4 and time.monotonic() - began < 20
        os.kill(worker, signal.SIGCONT)
        end = time.monotonic() + 60
        while ask(server).status_code != 200:
            assert time.monotonic() < end
        with server.client() as own:
            assert "vlprompt_requests_under_way 0" in own.get("/metrics").text
        assert server.stop() == (0, "")


def test_whoever_is_in_the_hands_of_a_process_that_dies_is_told(run: Path, program: list[str]) -> None:
    with started(run, "--quiet", program=program) as server:
        began = time.monotonic()
        answer = ask(server, BLUE)
        assert answer.status_code == 500 and "has died" in answer.json()["detail"]
        assert server.process.wait(60) == 1 and time.monotonic() - began < 20
        assert "vlprompt: a process of the server has died" in server.process.communicate()[1]


def test_the_server_ends_with_the_process_that_speaks_http(run: Path) -> None:
    with started(run, "--quiet") as server:
        os.kill(speaking(server), signal.SIGKILL)
        _, err = server.process.communicate(timeout=60)
        assert server.process.returncode == 1 and "a process of the server has died" in err


def test_nothing_is_left_of_a_server_that_was_killed(run: Path) -> None:
    with started(run, "--quiet") as server:
        left = children(server.process.pid)
        assert len(left) > 4
        server.process.kill()
        server.process.communicate()
        end = time.monotonic() + 60
        while not all(map(gone, left)):
            assert time.monotonic() < end, [line for number, line in left.items() if not gone(number)]
            time.sleep(0.1)


def test_a_death_before_the_server_was_seen_to_answer_is_noticed() -> None:
    from types import SimpleNamespace

    from vlprompt.serving.serve_options import ServeOptions
    from vlprompt.serving.server import watch

    lost: list[bool] = []
    server = SimpleNamespace(speaking=[SimpleNamespace(sentinel=0, exitcode=-9)])
    stopping = SimpleNamespace(server=server, ready=False, lose=lambda: lost.append(True))
    watch(ServeOptions(port=free_port()), stopping, lambda where: pytest.fail("it never answered"))  # type: ignore[arg-type]
    assert lost == [True] and not stopping.ready
