"""Ctrl-C: the step under way is finished, a checkpoint is kept, and what is said of it is true."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest
import torch

from vlprompt import fit
from vlprompt.cli.main import main
from vlprompt.training.checkpoints import FILE, read
from vlprompt.training.interrupts import Interrupted, asked_to_stop
from vlprompt.training.progress_lines import ProgressLines

pytestmark = pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    or threading.current_thread() is not threading.main_thread(),
    reason="Ctrl-C is not this process's own to handle",
)


def press(at: int, seen: list[dict]):
    """Presses Ctrl-C while the step with this number is told of."""

    def receive(record: dict) -> None:
        seen.append(record)
        if record["event"] == "step" and sum(r["event"] == "step" for r in seen) == at:
            os.kill(os.getpid(), signal.SIGINT)

    return receive


def test_the_first_is_noted_and_the_second_raises():
    with asked_to_stop() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_programs_handler_is_left_alone():
    held = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        own = signal.getsignal(signal.SIGINT)
        with asked_to_stop() as asked:
            assert signal.getsignal(signal.SIGINT) is own
            os.kill(os.getpid(), signal.SIGINT)
            assert not asked()
    finally:
        signal.signal(signal.SIGINT, held)


def test_outside_of_the_main_thread_nothing_is_changed():
    found = []

    def work() -> None:
        with asked_to_stop() as asked:
            found.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


def test_an_interrupted_fit_keeps_where_it_stood_and_ends_in_the_same_numbers(place):
    settings = {"shots": 4, "train": {"epochs": 3, "batch": 4}, "cache": False}
    whole = fit("photos", "lamm", **settings)
    seen: list[dict] = []
    with pytest.raises(Interrupted) as found:
        fit("photos", "lamm", out=place / "run", progress=press(4, seen), **settings)
    assert found.value.checkpoint == place / "run" / FILE
    state, _ = read(place / "run" / FILE) or pytest.fail("no checkpoint")
    assert (state.epoch, state.step) == (found.value.epoch, found.value.step) != (0, 0)
    again = fit("photos", "lamm", out=place / "run", **settings)
    for name, value in whole.method.state_dict().items():
        assert torch.equal(value, again.method.state_dict()[name])
    assert not (place / "run" / FILE).exists()


def test_without_a_folder_there_is_nothing_to_go_on_from(place):
    with pytest.raises(KeyboardInterrupt) as found:
        fit("photos", "lamm", shots=2, train={"epochs": 3}, cache=False, progress=press(1, []))
    assert not isinstance(found.value, Interrupted)


@pytest.mark.parametrize(("steps", "where"), [(2, "epoch 1, step 3"), (3, "epoch 2, step 1")])
def test_the_command_says_where_the_checkpoint_is_and_goes_on_from_it(
    place, capsys, monkeypatch, steps, where
):
    words = ["fit", "photos", "--method", "lamm", "--shots", "4", "--epochs", "3", "--batch", "4"]
    words += ["--out", "my run"]
    call, pressed = ProgressLines.__call__, press(steps, [])

    def both(self: ProgressLines, record: dict) -> None:
        call(self, record)
        pressed(record)

    with monkeypatch.context() as patch:
        patch.setattr(ProgressLines, "__call__", both)
        assert main(words) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert "interrupted: " in said and f"my run/{FILE}" in said and "the same command goes on from it" in said
    assert main(words) == 0
    assert f"going on at {where}" in capsys.readouterr().err
    lines = [json.loads(line) for line in (place / "my run" / "log.jsonl").read_text().splitlines()]
    assert any(line.get("resumed") for line in lines)
