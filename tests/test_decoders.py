"""Processes that decode pictures: the same pixels, an end to slow ones, and nobody waits for them."""

from __future__ import annotations

import io
import threading
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.data.pictures import open_picture
from vlprompt.errors import PictureError
from vlprompt.feeding import decoders
from vlprompt.feeding.decoders import Crowded, Decoders, TooSlow

CUT = Preprocessing(size=24)


def png(side: int = 40) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(side).integers(0, 256, (side, side + 8, 3), dtype=np.uint8)).save(
        out, "PNG"
    )
    return out.getvalue()


@lru_cache(maxsize=1)
def slow() -> bytes:
    """Takes seconds, and is permitted: 36 million pixels in 45 scans."""
    out = io.BytesIO()
    Image.new("L", (6000, 6000), 7).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    place = data.rindex(b"\xff\xda")
    return data[:place] + data[place:-2] * 40 + data[-2:]


@pytest.fixture
def four():
    held = Decoders(quick=2)
    yield held
    held.close()


def test_the_same_pixels_as_here(four):
    for side in (30, 61):
        expected = np.asarray(CUT.crop(open_picture(png(side))))
        assert np.array_equal(four.crop(png(side), CUT), expected)
    four.check(png())


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "empty"), (b"no picture", "not a picture"), (png()[:90], "broken")]
)
def test_what_is_wrong_is_said_as_here(four, data, words):
    for ask in (four.check, lambda data, name: four.crop(data, CUT, name)):
        with pytest.raises(PictureError, match=f"x.png: .*{words}"):
            ask(data, "x.png")
    with pytest.raises(PictureError, match="more than 100"):
        four.check(png(), most_pixels=100)


def test_a_slow_picture_is_given_up_and_others_are_not(monkeypatch):
    monkeypatch.setattr(decoders, "PATIENCE", 0.1)
    held, wrong, began = Decoders(seconds=0.6, quick=1), [], time.monotonic()
    held.check(png())

    def ask():
        try:
            held.check(slow())
        except PictureError as error:
            wrong.append(error)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    time.sleep(0.05)
    for _ in range(4):
        held.check(png())  # all others are answered meanwhile
    for thread in asking:
        thread.join()
    held.check(png())
    held.close()
    assert [type(error) for error in wrong] == [TooSlow] * 3 and "0.6 s" in str(wrong[0])
    assert time.monotonic() - began < 30


def test_the_oldest_slow_picture_makes_room(monkeypatch):
    monkeypatch.setattr(decoders, "PATIENCE", 0.05)
    held, wrong = Decoders(seconds=20, quick=1, slow=1), []
    held.check(png())

    def ask():
        try:
            held.check(slow())
        except PictureError as error:
            wrong.append(type(error))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
        time.sleep(0.5)
    for thread in asking:
        thread.join()
    held.close()
    assert Crowded in wrong


def test_a_decoder_that_dies_costs_its_picture_alone(four, monkeypatch):
    four.check(png())
    for process in four._idle:
        process._child.kill()
        process._child.wait()
    with pytest.raises(PictureError, match="brought its decoder down"):
        four.check(png())
    four.check(png())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes in /proc")
def test_processes_end_with_the_one_who_started_them(tmp_path):
    import os
    import subprocess
    import sys

    code = (
        "import sys; sys.path[:] = sys.argv[1:]\n"
        "from vlprompt.feeding.decoders import Decoders\n"
        "held = Decoders(quick=2); held.start()\n"
        "print(*(p._child.pid for p in held._idle), flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    children = parent.stdout.readline().split()
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 30
    while time.monotonic() < end and any(
        os.path.exists(f"/proc/{pid}/fd") and alive(pid) for pid in children
    ):
        time.sleep(0.1)
    assert len(children) == 2 and not any(alive(pid) for pid in children)


def alive(pid: str) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
