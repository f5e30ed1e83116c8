"""Several users of one machine share folders and a cache: none shuts another out, and no two write at once."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlprompt import locks
from vlprompt.errors import RunError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.files import write_together
from vlprompt.locks import LOCK, alone_in, folder_lock

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can become other users"
)
ANN, BEN = 54321, 54322


def become(user: int, mask: int) -> None:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    os.umask(mask)


def as_user(user: int, job: Callable[[], Any], mask: int = 0o022) -> Any:
    """What a job gives, or the text of its VlpromptError, in a process of that user."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        become(user, mask)
        try:
            found = job()
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"
        os.write(theirs, pickle.dumps(found))
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as answer:
        found = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(found)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder in which everybody may write."""
    place = Path(tempfile.mkdtemp(prefix="vlprompt-shared-"))
    place.chmod(0o777)
    yield place
    shutil.rmtree(place)


def enter(folder: Path) -> str:
    with alone_in(folder):
        return "entered"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_folder_is_locked_against_other_users_too(shared, mask, monkeypatch):
    monkeypatch.setattr(locks, "WAIT", 0.1)
    folder = shared / "run"
    folder.mkdir()
    folder.chmod(0o777)

    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        become(ANN, mask)
        with folder_lock(folder, 0) as held:
            os.write(theirs, b"held" if held else b"free")
            signal.pause()
    assert os.read(ours, 4) == b"held"
    try:
        assert "another command is at work" in as_user(BEN, lambda: enter(folder))
        assert "another command is at work" in as_user(ANN, lambda: enter(folder))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert as_user(BEN, lambda: enter(folder)) == "entered"
    assert as_user(ANN, lambda: enter(folder)) == "entered"


def test_a_lock_that_cannot_be_had_is_said(shared):
    (shared / LOCK).mkdir()
    with pytest.raises(RunError, match=r"cannot be locked .*remove .*\.lock"):
        enter(shared)


def test_one_cache_of_several_users(shared):
    """Who may only read it reads it, and leaves nothing that would shut its owner out."""
    value = np.arange(10, dtype=np.float32)

    def write(key: str) -> list[str]:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            cache = FeatureCache(shared)
            cache.put(key, value)
            assert (cache.get(key) == value).all()
            cache.close()
        return [str(one.message) for one in said]

    def read() -> tuple[bool, list[str]]:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            cache = FeatureCache(shared)
            found = cache.get("a")
            cache.put("b", value)
            assert cache.get("b") is None
            cache.close()
        return found is not None and bool((found == value).all()), [str(one.message) for one in said]

    assert as_user(ANN, lambda: write("a")) == []
    before = sorted(path.name for path in shared.iterdir())
    found, said = as_user(BEN, read)
    assert found and len(said) == 1 and "read-only" in said[0]
    assert sorted(path.name for path in shared.iterdir()) == before
    assert as_user(ANN, lambda: write("c")) == []
    found, said = as_user(BEN, read)
    assert found and len(said) == 1


def test_a_cache_of_others_is_never_removed(shared):
    def write() -> None:
        cache = FeatureCache(shared)
        cache.put("a", np.zeros(3))
        cache.close()

    as_user(ANN, write)
    (file,) = shared.glob("*.sqlite")
    whole = bytearray(file.read_bytes())
    whole[20_000:] = bytes(len(whole) - 20_000)
    file.write_bytes(whole)

    def read() -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return FeatureCache(shared).get("a") is None

    assert as_user(BEN, read) is True
    assert file.read_bytes() == whole


@pytest.mark.parametrize("name", [LOCK, f".run.json.{os.getpid()}.part"], ids=["lock", "part"])
def test_links_in_a_folder_from_elsewhere_are_not_written_through(shared, name):
    """A folder that somebody packed may hold them under every name that is written."""
    victim = shared / "victim"
    victim.write_text("mine")
    run = shared / "run"
    run.mkdir()
    (run / name).symlink_to(victim)
    try:
        with alone_in(run):
            write_together(run, {"a": b"1", "run.json": b"2"})
    except RunError as error:
        assert LOCK in str(error)
    write_together(run, {"run.json": b"3"})
    assert victim.read_text() == "mine" and (run / "run.json").read_bytes() == b"3"


def test_a_lock_that_is_a_link_to_nothing_makes_nothing(shared):
    run = shared / "run"
    run.mkdir()
    (run / LOCK).symlink_to(shared / "made")
    with pytest.raises(RunError, match="cannot be locked"):
        enter(run)
    assert not (shared / "made").exists()
