"""What is copied or exported is whole or absent, and what killed processes left is removed by the next one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import fault_jobs
import pytest

from vlprompt.errors import DataError
from vlprompt.files import copy_whole
from vlprompt.locks import workplace


def test_a_copy_on_a_full_disk_is_none(small_disk, tmp_path):
    large = tmp_path / "large.png"
    large.write_bytes(bytes(2**20))
    with pytest.raises(OSError, match="No space"):
        copy_whole(large, small_disk / "large.png")
    assert list(small_disk.iterdir()) == []


def test_sorting_onto_a_full_disk_leaves_whole_pictures(small_disk, tmp_path):
    from vlprompt.collections.sorting import sort

    class Said:
        class_names = ("a",)
        info = SimpleNamespace(tensors=None)

        def predict(self, pictures: list[str], **_: object) -> list[object]:
            from vlprompt.runs.run import Prediction

            return [Prediction(path, (("a", 1.0),)) for path in pictures]

    pictures = []
    for number in range(9):
        pictures.append(tmp_path / f"{number}.png")
        pictures[-1].write_bytes(bytes([number]) * 100_000)
    with pytest.raises(DataError, match="cannot be written"):
        sort(Said(), list(map(str, pictures)), small_disk / "out", coverage=None)  # type: ignore[arg-type]
    copies = sorted((small_disk / "out" / "a").iterdir())
    assert 1 <= len(copies) < 9
    assert all(copy.read_bytes() == (tmp_path / copy.name).read_bytes() for copy in copies)


def test_what_a_killed_export_wrote_goes_with_the_next(children, tmp_path):
    file = tmp_path / "a[1].onnx"
    process, pipe = children.start(fault_jobs.hold_workplace, file)
    left = Path(pipe.recv())
    assert (left / "half").exists()
    with workplace(file) as own:
        assert left.exists() and own != left  # whose owner lives
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    other = tmp_path / ".b.onnx.123.part"
    other.mkdir()
    with workplace(file) as own:
        assert not left.exists()
        (own / "x").write_text("x")
    assert list(tmp_path.iterdir()) == [other]


def test_an_export_that_is_killed_anywhere_leaves_the_old_file(children, tmp_path):
    """At every event of writing; tracing itself is left out, which takes its time and writes nothing."""
    file = tmp_path / "model.onnx"
    file.write_bytes(b"old")
    whole = children.run(fault_jobs.export_and_die, 0, file)
    assert whole is not None and file.read_bytes() == b"new"
    for at in range(1, whole + 1):
        file.write_bytes(b"old")
        assert children.run(fault_jobs.export_and_die, at, file) is None
        assert file.read_bytes() in (b"old", b"new")
    assert children.run(fault_jobs.export_and_die, 0, file) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
