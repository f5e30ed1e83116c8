"""Pictures that are replaced behind the program's back: noticed whatever size and times the new files have."""

from __future__ import annotations

import os
import shutil
import threading
import time

import numpy as np
import pytest
from fault_jobs import TRAIN, backbone
from PIL import Image
from small_data import picture_folder

from vlprompt.data.opening import open_dataset
from vlprompt.errors import DataError, RunError
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.fitting.learning import fit


@pytest.fixture
def bitmaps(tmp_path):
    """BMP pictures, which all have the same number of bytes."""
    folder = picture_folder(tmp_path / "bitmaps", {"train": 3, "test": 2})
    for path in folder.rglob("*.png"):
        Image.open(path).convert("RGB").resize((40, 40)).save(path.with_suffix(".bmp"))
        path.unlink()
    return folder


def learn(data, out=None, **more):
    return fit(data, "coop", backbone=backbone(), out=out, shots=3, train=TRAIN, **({"cache": False} | more))


def other(path, keep_times=True):
    """Another picture of the same size in the place of one, as unpacking with fixed times leaves it."""
    before = path.stat()
    image = np.asarray(Image.open(path))
    Image.fromarray(255 - image).save(path.with_name("new.bmp"))
    os.replace(path.with_name("new.bmp"), path)
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


class Stop(Exception):
    pass


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("cached", [False, True])
def test_a_finished_run_is_not_of_other_pictures(bitmaps, tmp_path, split, cached):
    cache = FeatureCache(tmp_path / "cache") if cached else False
    learn(bitmaps, tmp_path / "run", cache=cache)
    assert learn(bitmaps, tmp_path / "run", cache=cache)  # nothing has changed: loaded
    other(next(bitmaps.rglob(f"{split}/*/*.bmp")))
    with pytest.raises(
        RunError, match="finished run, but the pictures in the files have changed.*--overwrite"
    ):
        learn(bitmaps, tmp_path / "run", cache=cache)
    learn(bitmaps, tmp_path / "run", cache=cache, overwrite=True)


def test_an_interrupted_run_does_not_go_on_with_other_pictures(bitmaps, tmp_path):
    def stop(record):
        if record["event"] == "epoch" and record["epoch"] == 2:
            raise Stop

    with pytest.raises(Stop):
        learn(bitmaps, tmp_path / "run", progress=stop)
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    other(next(bitmaps.rglob("train/*/*.bmp")))
    with pytest.raises(RunError, match="interrupted run, but the pictures in the files have changed"):
        learn(bitmaps, tmp_path / "run")
    learn(bitmaps, tmp_path / "run", overwrite=True)


def test_pictures_that_lie_elsewhere_or_have_other_times_are_the_same(bitmaps, tmp_path):
    learn(bitmaps, tmp_path / "run")
    moved = tmp_path / "elsewhere" / "bitmaps"
    shutil.copytree(bitmaps, moved)
    shutil.rmtree(bitmaps)
    said = []
    learn(moved, tmp_path / "run", progress=lambda record: said.append(str(record.get("text"))))
    assert any("finished already" in text for text in said)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_cache_notices_files_with_the_size_and_times_of_others(bitmaps, tmp_path, in_place, monkeypatch):
    cache, dataset = FeatureCache(tmp_path / "cache"), open_dataset(bitmaps)
    item = dataset.all_items[0]
    path = bitmaps / item.path
    time.sleep(0.1)  # so that the file is settled, and what is remembered counts
    before = cache.content_hash(dataset, item)
    with monkeypatch.context() as patched:
        patched.setattr(type(dataset), "content_hash", lambda self, item: "read again")
        assert cache.content_hash(dataset, item) == before  # the shortcut is one
    found, data = path.stat(), bytearray(path.read_bytes())
    data[-9:] = bytes(9 * [data[-1] ^ 255])
    if in_place:
        with open(path, "r+b") as file:
            file.write(data)
    else:
        other(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    fresh = FeatureCache(tmp_path / "cache")
    for one in (cache, fresh):
        assert one.content_hash(dataset, item) == dataset.content_hash(item) != before


def test_files_that_change_again_within_a_tick_of_the_clock_are_read_again(bitmaps, tmp_path):
    cache, dataset = FeatureCache(tmp_path / "cache"), open_dataset(bitmaps)
    item = dataset.all_items[0]
    path = bitmaps / item.path
    data = path.read_bytes()
    for number in range(50):
        with open(path, "r+b") as file:
            file.write(data[:-1] + bytes([number]))
        assert cache.content_hash(dataset, item) == dataset.content_hash(item)


def test_features_of_a_picture_that_changes_meanwhile_are_not_kept_as_those_of_the_other(bitmaps, tmp_path):
    from vlprompt.feeding.inputs import Encoder

    cache, dataset = FeatureCache(tmp_path / "cache"), open_dataset(bitmaps)
    item, hashes = dataset.all_items[0], cache.content_hashes

    def and_then(dataset, items):
        found = hashes(dataset, items)
        other(bitmaps / item.path)
        return found

    cache.content_hashes = and_then
    inputs = Encoder(dataset, backbone(), cache=cache).features([item])
    assert inputs.skipped == [(item.path, f"{item.path}: has changed since the run began")]
    assert cache.info().entries == 0


@pytest.mark.parametrize("late", [26, 20, 14])
def test_a_folder_that_goes_while_it_is_read_is_an_error(tmp_path, monkeypatch, late):
    """No run is kept that was measured on the pictures that had been read by then. late: reads before the last."""
    from vlprompt.data.sources import SETTLED, Folder

    data = picture_folder(tmp_path / "data")
    time.sleep(
        2 * SETTLED / 1e9
    )  # younger files are read again each time, so that reads could not be counted
    read, reads, most, one_at_a_time = Folder.read, [0], [10**6], threading.Lock()

    def counted(self, name):
        with one_at_a_time:
            reads[0] += 1
            if reads[0] > most[0] and data.exists():
                data.rename(tmp_path / "away")
        return read(self, name)

    monkeypatch.setattr(Folder, "read", counted)
    method = {"method": "coop", "backbone": backbone(), "shots": 3, "train": TRAIN, "cache": False}
    whole = fit(data, **method)
    reads[0], most[0] = 0, reads[0] - late
    with pytest.raises(
        DataError, match=r"pictures have gone .* once they are there again the same command goes on"
    ):
        fit(data, out=tmp_path / "run", **method)
    assert not (tmp_path / "run" / "run.json").exists()
    most[0] = 10**6
    (tmp_path / "away").rename(data)
    again = fit(data, out=tmp_path / "run", **method)
    assert again.scores["test"] == whole.scores["test"] and again.info.data.skipped == 0


@pytest.mark.parametrize("method", ["coop", "auto"])
def test_a_folder_that_goes_before_any_picture_of_a_class_was_read_is_told_as_that(
    tmp_path, monkeypatch, method
):
    from vlprompt.feeding.inputs import Encoder

    data = picture_folder(tmp_path / "data")
    begin = Encoder.__init__

    def gone(self, *args, **more):
        begin(self, *args, **more)
        if (data / "train" / "red cat").exists():
            (data / "train" / "red cat").rename(tmp_path / "away")

    monkeypatch.setattr(Encoder, "__init__", gone)
    with pytest.raises(DataError, match=r"pictures have gone .* example .*red cat.*the same command goes on"):
        fit(data, method, backbone=backbone(), out=tmp_path / "run", shots=3, train=TRAIN, cache=False)
    assert not (tmp_path / "run" / "run.json").exists()


def test_broken_pictures_are_skipped_as_before(tmp_path):
    data = picture_folder(tmp_path / "data")
    next((data / "test" / "red cat").iterdir()).write_bytes(b"no picture")
    run = fit(data, "zeroshot", backbone=backbone(), shots=3, cache=False, out=tmp_path / "run")
    assert run.info.data.skipped == 1
