"""Files of a run folder are read within limits: regular files, up to a size."""

import os
from pathlib import Path

import pytest

from vlprompt import files
from vlprompt.files import read_file, write_together


def test_a_regular_file_and_a_link_to_one(tmp_path):
    (tmp_path / "run.json").write_bytes(b"{}")
    (tmp_path / "link").symlink_to(tmp_path / "run.json")
    assert read_file(tmp_path / "run.json") == read_file(tmp_path / "link", 10) == b"{}"


@pytest.mark.parametrize("kind", ["fifo", "zero", "link", "folder", "socket", "missing"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "log.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        path.symlink_to(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as held:
            held.bind(str(path))
    with pytest.raises(OSError, match=r"regular file|directory|No such|symbolic"):
        read_file(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "run.json", "wb") as file:
        file.truncate(1 << 40)  # takes no room
    with pytest.raises(OSError, match="larger than"):
        read_file(tmp_path / "run.json")
    (tmp_path / "small").write_bytes(bytes(11))
    with pytest.raises(OSError, match="larger than the 10 bytes"):
        read_file(tmp_path / "small", 10)


def test_files_that_say_they_are_empty_are_bounded_too():
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc")
    with pytest.raises(OSError, match="larger than"):
        read_file(Path("/proc/self/environ"), 3)


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
    (tmp_path / "b").mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError, match="directory"):
        write_together(tmp_path, {"a": b"1", "b": b"2"})
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*"))


def test_what_would_keep_one_waiting_is_not_read(tmp_path, monkeypatch):
    """As /proc/kmsg, which says that it is a regular file."""
    (tmp_path / "log").write_bytes(b"")

    class Waiting:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def fileno(self):
            return self.file.fileno()

        def read(self, size):
            return None

    monkeypatch.setattr(files, "open", lambda *given: Waiting(os.fdopen(given[0])), raising=False)
    with pytest.raises(OSError, match="unavailable"):
        read_file(tmp_path / "log", 100)
