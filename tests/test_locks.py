"""Locks on folders: held by one, given back however the holder ends."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from vlprompt import locks
from vlprompt.errors import RunError
from vlprompt.locks import LOCK, alone_in_its_folder, folder_lock, open_locked


def try_to_hold(folder: Path, answer) -> None:
    with folder_lock(folder, 0.0) as held:
        answer.put(held)


def asked_elsewhere(folder: Path) -> bool:
    """Whether another process gets the folder."""
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=try_to_hold, args=(folder, answer))
    child.start()
    found = answer.get(timeout=60)
    child.join()
    return bool(found)


def test_one_at_a_time_and_free_afterwards(tmp_path):
    with folder_lock(tmp_path / "run", 0.0) as held:
        assert held and not asked_elsewhere(tmp_path / "run")
    assert asked_elsewhere(tmp_path / "run")
    assert not (tmp_path / "run" / LOCK).exists()


def test_it_is_given_back_when_the_holder_fails(tmp_path):
    with pytest.raises(KeyError), folder_lock(tmp_path, 0.0):
        raise KeyError
    assert asked_elsewhere(tmp_path)


def test_it_is_given_back_when_the_holder_is_killed(tmp_path):
    child = os.fork()
    if not child:
        open_locked(tmp_path / LOCK, wait=False)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert (tmp_path / LOCK).exists() and asked_elsewhere(tmp_path)


def test_a_function_that_works_in_a_folder_works_there_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "WAIT", 0.0)

    @alone_in_its_folder
    def work(*, out: Path | None = None) -> bool:
        return out is None or not asked_elsewhere(out)

    (tmp_path / ".run.json.1.part").write_text("what a killed one left")
    assert work(out=tmp_path) and work()
    assert list(tmp_path.iterdir()) == []
    file = open_locked(tmp_path / LOCK, wait=False)
    try:
        with pytest.raises(RunError, match="another command is at work in it"):
            work(out=tmp_path)
    finally:
        os.close(file)
